"""``docs/jobs.md`` says what the code does: fields, types, defaults, limits, codes, statuses."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from scoring_airflow import notifications
from sklearn.feature_extraction import DictVectorizer

from docs.generate import BLOCKS, generated_files
from scoring import errors
from scoring.job.loader import load_job
from scoring.job.partitions import EXAMPLES
from scoring.job.schema import Job
from tests.docs.pages import Block, page
from tests.scoring.factories import Place, reasons, run_steps

JOBS = page("docs/jobs.md")


@pytest.mark.parametrize("path", generated_files(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    message = f"{path.name} is out of date, run `make docs`"
    assert path.read_text(encoding="utf-8") == generated_files()[path], message


def test_every_generated_table_is_in_the_page() -> None:
    assert re.findall(r"<!-- generated: (.+) -->", JOBS.text) == list(BLOCKS)


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


def test_example_schedules_fit_their_partitions() -> None:
    (table,) = JOBS.tables("Partitions and their keys")
    for kind, _, schedule in table:
        whole = yaml.safe_load(WHOLE.text)
        whole["start"] = whole["model"]["versions"][0]["in_force_from"] = EXAMPLES[kind.strip("`")]
        whole |= {"partition": kind.strip("`"), "schedule": schedule.strip('`"')}
        whole["timezone"] = "America/New_York"
        assert list(Job.model_validate(whole).problems()) == []


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
    seen = [int(row[0]) for row in table]
    assert set(seen) == raised | {0, 130}
    assert all(a < b for a, b in pairwise(seen))


def test_the_scorer_runs() -> None:
    block, with_files = [b for b in JOBS.blocks if b.language == "python"]
    names: dict[str, Any] = {}
    exec(block.text, names)

    class Model:
        def predict(self, df: pd.DataFrame) -> list[float]:
            return [1.0] * len(df)

    outputs = names["run"](pd.DataFrame({"base": [1.0, 2.0]}, index=[7, 8]), Model())
    assert outputs.to_dict("list") == {"total": [2.0, 3.0]}
    assert list(outputs.index) == [7, 8]

    vectorizer = DictVectorizer().fit([{"base": 1.0}])
    exec(with_files.text, names)
    outputs = names["run"](pd.DataFrame({"base": [1.0, 2.0]}, index=[7, 8]), Length(), vectorizer)
    assert outputs.to_dict("list") == {"duration": [1.0, 2.0]}


class Length:
    """A model of vectorized records that predicts their sum."""

    def predict(self, records: Any) -> Any:
        return records.sum(axis=1)
