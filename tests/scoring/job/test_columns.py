"""Names of columns that scoring adds itself, or that readers could not tell apart, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.job.columns import why_taken
from scoring.job.partitions import EXAMPLES, Kind
from scoring.job.schema import Job
from tests.scoring.factories import JOB, merged

CRONS = {"month": "0 3 2 * *", "week": "0 3 * * 2", "day": "0 3 * * *", "hour": "15 * * * *"}
FLOAT = {"type": "float64"}


def problems(kind: Kind = "month", **changes: Any) -> dict[str, str]:
    start = EXAMPLES[kind]
    values: dict[str, Any] = {
        "partition": kind,
        "schedule": CRONS[kind],
        "start": start,
        "timezone": "America/New_York",
        "model": {"versions": [{"version": "v1", "uri": "a.skops", "in_force_from": start}]},
    }
    job = Job.model_validate(merged(JOB, values | changes))
    return {".".join(map(str, loc)): message for loc, message in job.problems()}


TAKEN = ["model_version", "partition", "__row__", "__filename", "__fragment_index"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_no_published_column_has_the_name_of_the_folders_key(kind: Kind):
    for where, changes in (
        ("row_id", {"row_id": [kind]}),
        ("output", {"output": {"keep": [kind]}}),
        ("output", {"output": {"prediction": kind}}),
        ("output", {"output": {"probabilities": {kind: 1}}}),
    ):
        message = problems(kind, **changes)[where]
        assert f"'{kind}' is the name of the destination's partition folders ({kind}=…)" in message
        assert "rename" in message


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_keys_of_other_kinds_and_inputs_that_are_not_published_are_free(kind: Kind):
    others = [name for name in get_args(Kind) if name != kind]
    inputs = dict.fromkeys(get_args(Kind), FLOAT)
    assert problems(kind, output={"keep": others}, inputs=inputs) == {}
    assert problems(kind, inputs={"partition": FLOAT, "model_version": FLOAT}) == {}


@pytest.mark.parametrize("name", [*TAKEN, "Month", "MODEL_VERSION", "Partition", "__ROW__"])
def test_names_that_are_taken_are_refused_in_any_capitals(name: str):
    for where, changes in (
        ("row_id", {"row_id": [name]}),
        ("output", {"output": {"keep": [name]}}),
        ("output", {"output": {"prediction": name}}),
        ("output", {"output": {"probabilities": {name: 1}}}),
    ):
        message = problems(**changes)[where]
        assert f"'{name}' is " in message
        assert ("names are compared without regard to case" in message) == (name != name.lower())


@pytest.mark.parametrize("name", ["row", "reason", "column", "value", "Row", "VALUE"])
def test_a_row_id_is_not_called_like_a_column_of_the_quarantine(name: str):
    assert f"'{name}' is a column of the quarantine" in problems(row_id=[name])["row_id"]
    assert problems(output={"keep": [name]}, inputs={name: FLOAT}) == {}


def test_the_staged_row_number_has_its_name_for_itself():
    assert "is reserved for internal use" in problems(inputs={"__row__": FLOAT})["inputs.__row__"]
    assert (
        "is reserved for internal use"
        in problems(source={"date_column": "__row__"})["source.date_column"]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"row_id": ["id", "ID"]},
        {"output": {"keep": ["Id"]}},
        {"output": {"prediction": "ID"}},
        {"output": {"prediction": "y", "probabilities": {"Y": 1}}},
        {"output": {"prediction": "STRASSE", "keep": ["straße"]}},
    ],
)
def test_published_names_that_differ_in_case_only_are_refused(changes: dict[str, Any]):
    message = problems(**changes)["output"]
    assert (
        "differ only in case, and readers such as DuckDB and Spark treat them as the same"
        in message
    )


def test_inputs_may_differ_in_case_only():
    assert problems(inputs={"x": FLOAT, "X": FLOAT}) == {}


def test_pandas_cannot_read_what_is_refused(tmp_path: Path):
    """The reason for the rule: a name of this list in a file is an error, or hides the folder's
    key.
    """
    job = Job.model_validate(JOB)
    for name in ("month", "__filename", "__fragment_index", "__batch_index", "__last_in_fragment"):
        assert why_taken(name, job) is not None
        folder = tmp_path / name / "month=2013-05"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({name: [1.5]}), folder / "predictions.parquet")
        with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
            pd.read_parquet(tmp_path / name)
