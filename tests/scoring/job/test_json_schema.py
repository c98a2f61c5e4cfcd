"""The JSON schema of a job file refuses what ``check`` refuses for its shape, and nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from scoring.cli.main import main
from scoring.errors import JobError
from scoring.job.json_schema import job_schema
from scoring.job.loader import _place_problems, load_job
from scoring.job.schema import Job
from scoring.job.yaml_text import parse_yaml
from tests.docs.pages import REPOSITORY, page
from tests.scoring.factories import JOB, merged
from tests.scoring.job import test_loader, test_shorthand

SCHEMA = job_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

DIGEST = "0" * 64
FULL: dict[str, Any] = {
    "name": "full-job_1",
    "description": "A job with every field.",
    "owner": "analytics",
    "tags": ["a"],
    "schedule": "0 3 2 * *",
    "timezone": "America/New_York",
    "start": "2013-02",
    "end": "2014-01",
    "partition": "month",
    "source": {
        "uri": "s3://lake/{data}/{year}-{month}.csv",
        "format": "csv",
        "date_column": "at",
        "sha256": {"2013-02": DIGEST},
        "wait": {"timeout_hours": 1.5, "poke_interval_seconds": 60},
    },
    "row_id": ["id", "day"],
    "inputs": {
        "a": {"type": "float64", "nullable": True, "min": -1, "max": 2.5, "allowed": [0, 0.5]},
        "b": {"type": "int8", "allowed": [-128, 127]},
        "c": {"type": "string", "allowed": ["x", ""]},
        "d": {
            "type": "timestamp",
            "unit": "us",
            "timezone": "UTC",
            "allowed": ["2013-05-07T03:00"],
        },
        "e": {"type": "date", "unit": "s", "allowed": ["2012-02-29"]},
        "f": {"type": "boolean", "allowed": [True]},
        "g": {"type": "float32", "min": 0, "max": 1e38},
    },
    "model": {
        "policy": "current",
        "versions": [
            {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
            {
                "version": "v2.0",
                "uri": "file:///models/v2",
                "format": "joblib",
                "sha256": DIGEST,
                "in_force_from": "2013-07",
                "environment": {
                    "python": "3.9",
                    "requirements": "envs/v2.txt",
                    "variables": ["HOME"],
                    "timeout_seconds": 60,
                },
            },
        ],
        "trusted_types": ["a.B"],
    },
    "scorer": "own/scorer.py",
    "output": {
        "prediction": "y",
        "probabilities": {"p": True, "q": "late", "r": 1},
        "keep": ["z"],
        "types": {"y": "float32"},
    },
    "destination": {
        "uri": "s3://bucket/out",
        "format": "parquet",
        "sse": "aws:kms",
        "kms_key_id": "key",
        "former_names": ["old"],
    },
    "checks": {
        "max_quarantined_fraction": 0.5,
        "min_rows": 0,
        "examples": 1,
        "on_warning": "fail",
    },
    "run": {
        "queue": "q",
        "pool": "p",
        "executor": "CeleryExecutor",
        "aws_conn_id": "aws",
        "mlflow_conn_id": "models",
        "shard_rows": 1000,
        "max_active_runs": 1,
        "retries": 0,
        "retry_delay_seconds": 0.5,
        "execution_timeout_minutes": 1,
        "deadline_hours": 1,
        "threads": 1,
    },
    "alerts": [
        {
            "notifier": "a.B",
            "arguments": {"conn_id": "c", "x": [1, {"y": None}]},
            "when": ["failed", "late", "held", "drift", "stale"],
        }
    ],
}
QUERY = {
    "source": {
        "uri": None,
        "sql": "SELECT id, x FROM t WHERE at >= :start ORDER BY id",
        "conn_id": "warehouse",
    }
}
OF_FILE = {"version": "v", "uri": "v.skops", "in_force_from": "2013-02"}
OF_FOLDER = {"version": "v", "uri": "mlflow:models:/ride@best", "in_force_from": "2013-02"}
WITHOUT_INPUTS = {k: v for k, v in JOB.items() if k != "inputs"}

VALID = [
    FULL,
    WITHOUT_INPUTS | {"model": {"versions": [{**OF_FOLDER, "environment": "model"}]}},
    JOB,
    merged(JOB, QUERY),
    merged(JOB, {"model": None, "scorer": "scorer.py"}),
    merged(JOB, {"partition": "day", "schedule": "0 3 * * *", "start": "2012-02-29"})
    | {"model": None, "scorer": "s.py", "end": None},
]


def problems(values: dict[str, Any]) -> list[str]:
    """What the models say of a job, whatever its file is called."""
    try:
        job = Job.model_validate(values)
        found = [*_place_problems(job, Path(f"{job.name}.yaml")), *job.problems()]
        return [message for _, message in found]
    except ValidationError as error:
        return [str(error)]


def refuses(values: Any) -> bool:
    return not VALIDATOR.is_valid(values)


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in ``values``."""
    if not isinstance(values, dict | list):
        return [path]
    inner = values.items() if isinstance(values, dict) else enumerate(values)
    return [*([path] if path else []), *(p for k, v in inner for p in places(v, (*path, k)))]


def replaced(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(values)
    section = changed
    for step in path[:-1]:
        section = section[step]
    section[path[-1]] = value
    return changed


def test_it_is_a_schema_of_draft_2020_12():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("values", VALID, ids=lambda v: str(v["name"]))
def test_valid_jobs_are_accepted(values: dict[str, Any]):
    assert problems(values) == []
    assert [error.message for error in VALIDATOR.iter_errors(values)] == []


@pytest.mark.parametrize(
    "name",
    [
        "dags/jobs/flight_delay.yaml",
        "examples/own_dag.yaml",
        "examples/green_taxi/green_duration.yaml",
    ],
)
def test_the_example_jobs_name_the_schema_and_are_accepted(name: str):
    path = REPOSITORY / name
    first, _, _ = path.read_text().partition("\n")
    target = path.parent / first.removeprefix("# yaml-language-server: $schema=")
    values, _ = parse_yaml(path, path.read_bytes())
    assert Draft202012Validator(json.loads(target.read_text())).is_valid(values)


def test_the_whole_job_of_the_documentation_is_accepted():
    (block,) = [b for b in page("docs/jobs.md").blocks if b.mark == ("test", "job")]
    values, _ = parse_yaml(Path("job.yaml"), block.text.encode())
    assert not refuses(values)


def shapes() -> list[tuple[tuple[Any, ...], Any]]:
    """Every value of the full job, replaced by each of some values of other types and ranges."""
    others = [
        None, True, 7, -7, 2.5, 1e300, -1e300, float("nan"), float("inf"), 10**20, "", "text", "a\n",
        "{data}/x", "{year}", "x" * 2000, [], ["a", "a"], [1], {}, {"unknown_key": 1},
    ]  # fmt: skip
    return [(path, value) for path in places(FULL) for value in others]


INEXPRESSIBLE = (
    "valid integer [type=int_type, input_value=1e+300",  # an integer of JSON Schema
    "valid integer [type=int_type, input_value=-1e+300",
    "is above max",
    "is below min",
    "so no row can have it",
    "before start",
    "differ in case only",
    "listed twice",
    "already",
    "an output too",
    "two outputs",
    "has no partition",
    "does not fit",
    "is not an IANA time zone",
)


def test_wrong_shapes_are_refused_by_both():
    compared = 0
    for path, value in shapes():
        values = replaced(FULL, path, value)
        found = problems(values)
        compared += 1
        if not found:
            assert not refuses(values), f"false alarm at {path}: {value!r}"
        elif not any(known in found[0] for known in INEXPRESSIBLE):
            assert refuses(values), f"{path}: {value!r} is accepted, but: {found[0]}"
    assert compared > 1_500


@pytest.mark.parametrize("full", VALID, ids=lambda v: str(v["name"]))
def test_missing_keys_are_refused_by_both(full: dict[str, Any]):
    for path in places(full):
        if isinstance(path[-1], int):
            continue
        changed = replaced(full, path, None)
        section: Any = changed
        for step in path[:-1]:
            section = section[step]
        del section[path[-1]]
        assert refuses(changed) == bool(problems(changed)), f"without {path}"


@pytest.mark.parametrize("full", VALID, ids=lambda v: str(v["name"]))
def test_unknown_keys_are_refused_by_both(full: dict[str, Any]):
    for path in places(full):
        if isinstance(path[-1], str) and path[0] != "alerts" and "sha256" not in path[:-1]:
            changed = replaced(full, (*path[:-1], f"{path[-1]}_x"), 2.5)
            assert problems(changed), path
            assert refuses(changed), path


WRONG = [
    {"start": "2013-13"},
    {"start": "2013-05-07"},
    {"start": "2013-W05"},
    {"partition": "week", "start": "2013-W54"},
    {"partition": "day", "start": "2013-02-29"},
    {"partition": "hour", "start": "2013-05-07T03"},
    {"end": "2013-2"},
    {"schedule": "0 3 2 *"},
    {"schedule": "0 25 2 * *"},
    {"schedule": "@monthly"},
    {"timezone": "Mars/Olympus"},
    {"name": "a\n"},
    {"source": {"sql": "SELECT 1 ORDER BY 1", "conn_id": "c"}},
    {"source": {"uri": None}},
    {"source": {"conn_id": "c"}},
    {"source": {"uri": "gs://bucket/x"}},
    {"source": {"uri": "s3:bucket"}},
    {"source": {"uri": "https://user@host/x"}},
    {"source": {"uri": "~/x"}},
    {"source": {"uri": "%Y.csv"}},
    {"source": {"uri": "*.csv", "sha256": {"2013-02": DIGEST}}},
    {"source": {"sha256": {"2013-02-01": DIGEST}}},
    {"source": {"uri": None, "sql": "SELECT 1 ORDER BY 1"}},
    {"source": {"uri": None, "sql": "DELETE FROM t ORDER BY 1", "conn_id": "c"}},
    {"source": {"uri": None, "sql": "SELECT :day ORDER BY 1", "conn_id": "c"}},
    {"source": {"format": "sql"}},
    {"row_id": ["Reason"]},
    {"row_id": ["month"]},
    {"row_id": ["id", "id"]},
    {"inputs": None},
    {"inputs": {"x": {"type": "string", "min": 1}}},
    {"inputs": {"x": {"type": "int8", "max": 128}}},
    {"inputs": {"x": {"type": "int64", "unit": "us"}}},
    {"inputs": {"x": {"type": "date", "timezone": "UTC"}}},
    {"inputs": {"x": {"type": "date", "allowed": ["2013-02-30"]}}},
    {"inputs": {"x": {"type": "string", "allowed": [1]}}},
    {"model": {"versions": [{"version": "v", "uri": "v.joblib", "in_force_from": "2013-02"}]}},
    {"model": {"versions": [{**OF_FILE, "environment": "model"}]}},
    {"model": {"versions": [{"version": "v", "uri": "v.bin", "in_force_from": "2013-02"}]}},
    {"model": {"versions": [{"version": "v", "uri": "v.skops", "in_force_from": "2013"}]}},
    {"model": None},
    {"model": None, "scorer": "s.py", "output": {"probabilities": {"p": 1}}},
    {"output": {"prediction": "Month"}},
    {"destination": {"kms_key_id": "k"}},
    {"alerts": [{"notifier": "a.B", "arguments": {"x": [{"Password": "x"}]}}]},
    {"alerts": [{"notifier": "a.B", "arguments": {"x": 2**63}}]},
]  # fmt: skip


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_what_several_fields_say_is_expressed(changes: dict[str, Any]):
    values = merged(JOB, changes)
    assert problems(values)
    assert refuses(values)


def scalars() -> st.SearchStrategy[Any]:
    words = [
        "2013-02", "2013-02-03", "2013-W05", "month", "day", "float64", "timestamp", "{data}/x.csv",
        "{year:}", "x.joblib", "a.skops/", "s3://b/k", "https://h/*", "UTC", "0 3 2 * *", "csv", "id",
        "aws:kms", "SELECT 1 ORDER BY 1", "scorer.py", "../x.py", "a.b", "0" * 64,
    ]  # fmt: skip
    return st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
        st.text("{}%$~\\/:*?[]@.-aeYsx3", max_size=8), st.sampled_from(words),
    )  # fmt: skip


anything = st.recursive(
    scalars(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=1_000, deadline=None)
@given(st.data())
def test_no_false_alarms(data: st.DataObject):
    values = copy.deepcopy(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(values)))
        values = replaced(values, path, data.draw(anything))
    if not problems(values):
        assert [error.message for error in VALIDATOR.iter_errors(values)] == []


cron_values = st.sampled_from(
    ["*", "0", "5", "05", "59", "1-5", "5-1", "*/5", "10/5", "mon", "MON-fri", "jan", "l", "L", "15w",
     "?", "1,2", "mon#2", "l3", "*/90", "h", "1,", "W1", "sun-1", "24", "60", "7", "l-3", "1#5"]
)  # fmt: skip


@settings(max_examples=1_000, deadline=None)
@given(st.lists(cron_values, min_size=5, max_size=5))
def test_cron_expressions_are_not_refused_wrongly(fields: list[str]):
    values = merged(JOB, {"schedule": " ".join(fields)})
    wrong = any("cron expression" in found or "random" in found for found in problems(values))
    assert wrong or not refuses(values)


def wrong_files() -> list[str]:
    """The wrong job files of the other tests."""
    replacements = (
        test_loader.test_a_mistake_is_named_with_its_line_its_field_what_stands_there_and_what_may
    )
    (mark,) = replacements.pytestmark
    files = [test_loader.TEXT.replace(case[0], case[1], 1) for case in mark.args[1]]
    (mark,) = test_shorthand.test_what_to_write_is_said.pytestmark
    for text, *_ in mark.args[1]:
        kept = {key: value for key, value in JOB.items() if key != text.partition(":")[0]}
        files.append(yaml.safe_dump(kept, sort_keys=False) + text + "\n")
    return files


@pytest.mark.parametrize("text", wrong_files())
def test_wrong_files_of_the_other_tests(tmp_path: Path, text: str):
    path = tmp_path / "sample.yaml"
    path.write_text(text)
    with pytest.raises(JobError) as error:
        load_job(path)
    values, _ = parse_yaml(path, text.encode())
    assert refuses(values) or any(known in str(error.value) for known in INEXPRESSIBLE)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
