"""``docs/jobs.md`` says what the code does: fields, types, defaults, limits, codes, statuses."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin

import pandas as pd
import pytest
import yaml
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from scoring_airflow import notifications

from scoring import errors
from scoring.job import uri_templates
from scoring.job.alert import AlertConfig
from scoring.job.destination import DestinationConfig
from scoring.job.inputs import ColumnConfig
from scoring.job.loader import load_job
from scoring.job.model import ModelConfig, ModelVersionConfig
from scoring.job.partitions import EXAMPLES
from scoring.job.schema import ChecksConfig, Job, OutputConfig, RunConfig
from scoring.job.source import SourceConfig, WaitConfig
from tests.docs.pages import Block, page
from tests.scoring.factories import Place, reasons, run_steps

JOBS = page("docs/jobs.md")
SECTIONS = {
    "The job": Job,
    "source": SourceConfig,
    "source.wait": WaitConfig,
    "inputs": ColumnConfig,
    "model": ModelConfig,
    "model.versions": ModelVersionConfig,
    "output": OutputConfig,
    "destination": DestinationConfig,
    "checks": ChecksConfig,
    "run": RunConfig,
    "alerts": AlertConfig,
}
WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    JsonValue: "anything",
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_fields(heading: str) -> None:
    table = JOBS.tables(heading)[0]
    fields = SECTIONS[heading].model_fields
    assert [row[0].strip("`") for row in table] == list(fields)
    for name, kind, default, meaning in table:
        field = fields[name.strip("`")]
        assert _plain(kind) == _words(field.annotation), f"the type of {name}"
        assert default == _default(field), f"the default of {name}"
        for limit in _limits(field):
            assert limit in re.sub(r"(?<=\d),(?=\d)|`", "", meaning), (
                f"{name} has the limit {limit}"
            )


def _plain(text: str) -> str:
    """A table's words for a type, without links and backticks."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text).replace("`", "")


def _words(annotation: Any) -> str:
    """The words for a type in the tables."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in WORDS:
        return WORDS[annotation]
    if origin is Literal:
        return _listed(list(inner))
    if origin is list:
        if inner[0] is ModelVersionConfig:
            return "list of versions"
        if inner[0] is AlertConfig:
            return "list of alerts"
        return f"list of {_words(inner[0])}"
    if origin is dict:
        value = "column" if inner[1] is ColumnConfig else _words(inner[1])
        return f"mapping of name to {value}"
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _words(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    kinds = [kind for kind in inner if kind is not NoneType]
    if {int, float} <= set(kinds):  # a number, whole or not
        kinds.remove(int)
    assert origin is Union or inner, annotation
    return _listed([_words(kind) for kind in kinds])


def _listed(words: list[str]) -> str:
    last = words[-1]
    comma = "," if len(words) > 2 and " or " in last else ""
    return f"{', '.join(words[:-1])}{comma} or {last}" if words[:-1] else last


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, BaseModel):
        return "see there"
    if field.default == "":
        return '`""`'
    return f"`{str(field.default).lower() if field.default is False else field.default}`"


def _limits(field: FieldInfo) -> list[str]:
    found = []
    for limit in field.metadata:
        for name in ("ge", "gt", "le", "min_length", "max_length"):
            value = getattr(limit, name, None)
            if value is not None:
                found.append(str(value))
    return found


WHOLE = next(b for b in JOBS.blocks if b.mark == ("test", "job"))
PARTS = [b for b in JOBS.blocks if b.language == "yaml" and b is not WHOLE]


def test_the_whole_job_is_right(tmp_path: Path) -> None:
    path = tmp_path / "delivery_time.yaml"
    path.write_text(WHOLE.text)
    assert load_job(path).job.name == "delivery_time"


@pytest.mark.parametrize("block", PARTS, ids=lambda b: f"line-{b.line}")
def test_parts_of_a_job_are_right(block: Block, tmp_path: Path) -> None:
    whole = yaml.safe_load(WHOLE.text)
    whole["start"] = whole["model"]["versions"][0]["in_force_from"] = "2013-02"
    path = tmp_path / "delivery_time.yaml"
    path.write_text(yaml.safe_dump(whole | yaml.safe_load(block.text), sort_keys=False))
    load_job(path)


def test_partition_keys() -> None:
    (table,) = JOBS.tables("Partitions and their keys")
    assert {row[0].strip("`"): row[1].split("`")[1] for row in table} == EXAMPLES | {
        "week": "2013-W05"
    }
    for kind, _, schedule in table:
        whole = yaml.safe_load(WHOLE.text)
        whole["start"] = whole["model"]["versions"][0]["in_force_from"] = EXAMPLES[kind.strip("`")]
        whole |= {"partition": kind.strip("`"), "schedule": schedule.strip('`"')}
        whole["timezone"] = "America/New_York"
        assert list(Job.model_validate(whole).problems()) == []


def test_uri_fields() -> None:
    (table,) = JOBS.tables("URIs")
    assert [row[0].strip("`{}") for row in table] == [
        *uri_templates.ROOT_FIELDS,
        *uri_templates.PARTITION_FIELDS,
    ]


def test_names_in_the_templates_of_alerts() -> None:
    table = JOBS.tables("alerts")[1]
    assert [row[0].strip("`{ }") for row in table] == list(notifications.FACTS)


BREAKS_A_RULE = {
    "null_row_id": ",2013-02-03,1,a",
    "outside_partition": "3,2013-03-03,1,a",
    "wrong_type": "4,2013-02-03,much,a",
    "missing_value": "5,2013-02-03,,a",
    "infinite": "6,2013-02-03,inf,a",
    "below_min": "7,2013-02-03,-1,a",
    "above_max": "8,2013-02-03,101,a",
    "not_allowed": "9,2013-02-03,1,z",
    "duplicate_row_id": "1,2013-02-03,1,a",
    "null_prediction": "11,2013-02-03,0,a",
    "infinite_prediction": "12,2013-02-03,2,a",
}


def test_reason_codes(tmp_path: Path) -> None:
    (table,) = JOBS.tables("Reason codes")
    assert [row[0].strip("`") for row in table] == list(BREAKS_A_RULE)
    place = Place(tmp_path)
    place.csv("\n".join(["id,at,x,kind", "1,2013-02-03,1,a", *BREAKS_A_RULE.values()]))
    job = place.job(
        source={"uri": "{data}/source/{partition}.csv", "date_column": "at"},
        inputs={
            "x": {"type": "float64", "min": 0, "max": 100},
            "kind": {"type": "string", "allowed": ["a"]},
        },
        model=None,
        scorer=place.scorer(
            "def run(df):\n    return (df.x / (df.x - 2) / (df.x != 0)).to_frame('y')"
        ),
    )
    found = reasons(run_steps(place.run(job)))
    assert [found[row][0] for row in sorted(found)] == list(BREAKS_A_RULE)


def test_exit_statuses() -> None:
    (table,) = JOBS.tables("Exit statuses")
    raised = {
        error.exit_status
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.ScoringError)
    }
    told = [int(row[0]) for row in table]
    assert set(told) == raised | {0, 130}
    assert all(a < b for a, b in pairwise(told))


def test_the_scorer_runs() -> None:
    (block,) = [b for b in JOBS.blocks if b.language == "python"]
    names: dict[str, Any] = {}
    exec(block.text, names)

    class Model:
        def predict(self, df: pd.DataFrame) -> list[float]:
            return [1.0] * len(df)

    outputs = names["run"](pd.DataFrame({"base": [1.0, 2.0]}, index=[7, 8]), Model())
    assert outputs.to_dict("list") == {"total": [2.0, 3.0]}
    assert list(outputs.index) == [7, 8]
