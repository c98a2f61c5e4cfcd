"""A value of the wrong shape is reported with what to write in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scoring.errors import JobError
from scoring.job.loader import load_job
from tests.scoring.factories import JOB, merged


def reported(folder: Path, changes: dict[str, Any] | str) -> str:
    """What is said of the sample job with ``changes``: values, or lines of YAML in place of others."""
    path = folder / "sample.yaml"
    if isinstance(changes, str):
        key = changes.partition(":")[0]
        kept = {k: v for k, v in JOB.items() if k != key}
        path.write_text(yaml.safe_dump(kept, sort_keys=False) + changes + "\n")
    else:
        path.write_text(yaml.safe_dump(merged(JOB, changes), sort_keys=False))
    with pytest.raises(JobError) as error:
        load_job(path)
    assert "(1 problem)" in str(error.value)
    return str(error.value)


ENVIRONMENT = (
    "model: {versions: [{version: v1, uri: v1.skops, in_force_from: 2013-02, "
    "environment: {python: %s, requirements: [scikit-learn==1.0.2]}}]}"
)


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        ("inputs: {hour: int64}", "inputs.hour", "; write hour: {type: int64}"),
        ("inputs: {hour: int}", "inputs.hour", "; write hour: {type: int64}"),
        ("inputs: {hour: [float]}", "inputs.hour", "; write hour: {type: float64}"),
        ("inputs: {a b: text}", "inputs.a b", '; write "a b": {type: string}'),
        ("inputs: [x, y]", "inputs", "; write {x: {type: float64}, …}"),
        ("inputs: x", "inputs", "; write {x: {type: float64}, …}"),
        ("inputs:\n  x:float64", "inputs", "; a space is missing after the colon: x: float64"),
        ("inputs: {x: }", "inputs.x", "; the value is empty"),
        ("row_id: id", "row_id", '"id" should be a valid list; write row_id: [id]'),
        ("row_id: id, day", "row_id", "; write row_id: [id, day]"),
        ("row_id: {id: }", "row_id", "; write row_id: [id]"),
        ("row_id: id]", "row_id", "; write row_id: [id]"),
        ("row_id:", "row_id", "; the value is empty; write []"),
        ("output: {keep: x}", "output.keep", "; write keep: [x]"),
        ("output: y", "output", "; write output: {prediction: y}"),
        ("output: {prediction: [y]}", "output.prediction", "; write y, without brackets"),
        ("output: {probabilities: [p]}", "output.probabilities", "; write {COLUMN: CLASS}"),
        ("source: a.parquet", "source", "; write source: {uri: a.parquet}"),
        ("source: {uri: {data}}", "source.uri", '; put it in quotes: "{data}"'),
        ("source: [a, b]", "source", "; write it without dashes or brackets"),
        ("source: {uri: a, wait: 48}", "source.wait", "; write wait: {timeout_hours: 48}"),
        ("source: {uri: a, wait: yes}", "source.wait", "; write wait: {timeout_hours: …}, or"),
        ("source: {uri: a, sha256: abc}", "source.sha256", "; write {PARTITION: DIGEST}"),
        ('destination: "{data}/x"', "destination", '; write destination: {uri: "{data}/x"}'),
        ("model: v1.skops", "model", "; write model: {versions: [{version: v1, uri: …, "),
        ("model: {versions: {version: v1}}", "model.versions", "; write a list: versions: [{version"),
        ("model: {versions: v1.skops}", "model.versions", "; write a list: versions: [{version"),
        ("model: {versions: [v1.skops]}", "model.versions[1]", "; write {version: v1, uri: …"),
        (
            ENVIRONMENT % "'3.7'",
            "model.versions[1].environment.python",
            '"3.7" should be of the form "3.9", and at least 3.8',
        ),
        (
            ENVIRONMENT % "'3.9.18'",
            "model.versions[1].environment.python",
            '"3.9.18" should be of the form "3.9", and at least 3.8',
        ),
        (
            ENVIRONMENT % "3.10",
            "model.versions[1].environment.python",
            '; put it in quotes, such as "3.10"',
        ),
        ("run: 4", "run", "4 should be a valid mapping"),
        ("run: {retries: '3'}", "run.retries", "; write 3, without quotes"),
        ("run: {retries: three}", "run.retries", "; write an integer"),
        ("run: {retries: 2.5}", "run.retries", "; write an integer"),
        ("run: {retry_delay_seconds: 1e2}", "run.retry_delay_seconds", "; write 100, without quotes"),
        ("run: {pool: 4}", "run.pool", "; put it in quotes"),
        ("owner: #analytics", "owner", "; the value is empty; a string that begins with #"),
        ("run: {retries: 1e400}", "run.retries", '"1e400" should be a valid integer; write an integer'),
        ("inputs:\n  x:{type: float64}", "inputs.x:{type", "; a space is missing after the colon of x:"),
        ("sql: SELECT 1", "sql", "unknown key; it belongs to source (known here:"),
        ("tags: a", "tags", "; write tags: [a]"),
        ("alerts: {notifier: a.b}", "alerts", "; write a list: alerts: [{notifier: …"),
        ("alerts: [a.b]", "alerts[1]", "; write {notifier: …, arguments: {…}}"),
        ("partition: monthly", "partition", "; did you mean month?"),
        ("partition: daily", "partition", "; did you mean day?"),
        ("partition: H", "partition", "; did you mean hour?"),
    ],
)  # fmt: skip
def test_what_to_write_is_said(tmp_path: Path, text: str, field: str, hint: str):
    message = reported(tmp_path, text)
    assert f", {field}: " in message
    assert hint in message


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *[(name, "int64") for name in ("int", "integer", "long", "Int64", "INT64")],
        *[(name, "string") for name in ("str", "text", "object", "category")],
        *[(name, "float64") for name in ("float", "double", "number", "Float64")],
        *[(name, "timestamp") for name in ("datetime", "datetime64[ns]", "Timestamp")],
        *[(name, "boolean") for name in ("bool", "Bool")],
        ("uint8", "int16"),
        ("float46", "float64"),
    ],
)
def test_types_of_other_tools_are_translated(tmp_path: Path, given: str, meant: str):
    message = reported(tmp_path, {"inputs": {"x": {"type": given}}})
    assert message.endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        ({"nullable": "yes please"}, "; write true or false, without quotes"),
        ({"nullable": "true"}, "; write true or false, without quotes"),
        ({"nullable": 1}, "; write true or false, without quotes"),
        ({"allowed": 5}, "; write allowed: [5]"),
        ({"allowed": "a, NO"}, '; write allowed: [a, "NO"]'),
        ({"allowed": [1.0, None]}, "; nullable: true allows nulls"),
    ],
)
def test_fields_of_an_input(tmp_path: Path, column: dict[str, Any], hint: str):
    assert hint in reported(tmp_path, {"inputs": {"x": {"type": "float64", **column}}})


def test_a_key_without_a_space_after_its_colon_is_recognised(tmp_path: Path):
    message = reported(tmp_path, "inputs:\n  x: {type: float64, min:0}")
    assert "inputs.x.min:0: unknown key; a space is missing after the colon of min:" in message


def test_keys_that_are_not_indented_are_recognised(tmp_path: Path):
    path = tmp_path / "sample.yaml"
    kept = {k: v for k, v in JOB.items() if k != "source"}
    path.write_text(yaml.safe_dump(kept) + "source:\nuri: a\n")
    with pytest.raises(JobError, match="uri: unknown key; indent it, if it belongs to source"):
        load_job(path)
