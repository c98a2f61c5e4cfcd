"""Every number of a job file has limits: what Airflow, its database or ``timedelta`` could not take
is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from scoring.errors import JobError
from scoring.job.loader import load_job
from scoring.job.schema import Job
from tests.scoring.factories import JOB, Place, merged

SECTIONS = ("checks", "run")


def limited(
    model: type[BaseModel], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The places of all numbers with limits in the sections of a job, and their fields."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from limited(kind, (*path, name))
        if {int, float} & {getattr(k, "__origin__", k) for k in kinds} - {bool}:
            yield (*path, name), field


FIELDS = {
    path: field for path, field in limited(Job) if path[0] in ("checks", "run") or "wait" in path
}  # fmt: skip


def test_all_of_them_are_found():
    assert {".".join(path) for path in FIELDS} >= {
        "run.retries", "run.threads", "run.shard_rows", "run.deadline_hours",
        "run.execution_timeout_minutes", "run.retry_delay_seconds", "run.max_active_runs",
        "checks.min_rows", "checks.examples", "checks.max_quarantined_fraction",
        "source.wait.timeout_hours", "source.wait.poke_interval_seconds",
    }  # fmt: skip


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400, -(10**400), -1, 1e308])
@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_an_absurd_number_is_a_mistake(empty: Place, path: tuple[str, ...], value: float):
    changes: dict[str, Any] = {path[-1]: value}
    for step in reversed(path[:-1]):
        changes = {step: changes}
    text = yaml.safe_dump(merged(JOB, changes))
    (empty.folder / "sample.yaml").write_text(text)
    with pytest.raises(JobError) as error:
        load_job(empty.folder / "sample.yaml")
    assert f"{'.'.join(path)}: " in str(error.value)
    assert "should be" in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("field", "length"),
    [
        ("queue", 256),
        ("pool", 256),
        ("executor", 1000),
        ("aws_conn_id", 250),
        ("mlflow_conn_id", 250),
    ],
)
def test_names_fit_into_the_database(empty: Place, field: str, length: int):
    assert getattr(empty.job(run={field: "x" * length}).job.run, field) == "x" * length
    with pytest.raises(JobError, match=f"run.{field}: .* at most {length} characters"):
        empty.job(run={field: "x" * (length + 1)})


@pytest.mark.parametrize("value", [math.inf, math.nan, 2**63, [{"a": -math.inf}]])
def test_numbers_in_the_arguments_of_an_alert_can_be_stored(empty: Place, value: Any):
    alert = {"notifier": "a.b", "arguments": {"x": {"y": value}, "z": 2**62}}
    with pytest.raises(JobError, match=r"alerts\[1\]\.arguments\.x\.y.* is a number that"):
        empty.job(alerts=[alert])
