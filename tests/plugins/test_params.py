"""The trigger form: which partitions and model versions it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import Param
from airflow.sdk.exceptions import ParamValidationError
from scoring_airflow.params import model_version_param, partition_param

from scoring.job.loader import load_job
from tests import small_job

CHAMPION = {
    "version": "champion",
    "uri": "mlflow:models:/delay@champion",
    "in_force_from": "2013-02",
    "trust": "registry",
}


def _takes(param: Param, value: str | None) -> bool:
    try:
        return bool(param.resolve(value) == value)
    except ParamValidationError:
        return False


@pytest.mark.parametrize(
    ("kind", "schedule", "start", "wrong"),
    [
        ("month", "0 3 2 * *", "2013-02", "2013-2"),
        ("week", "0 3 * * 2", "2013-W05", "2013-05"),
        ("day", "0 3 * * *", "2013-02-01", "2013-02"),
        ("hour", "15 * * * *", "2013-02-01T03+0000", "2013-02-01T03"),
    ],
)
def test_it_asks_for_a_partition_of_the_jobs_kind(
    tmp_path: Path, kind: str, schedule: str, start: str, wrong: str
) -> None:
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": start}
    job = small_job.write_job(
        tmp_path, partition=kind, schedule=schedule, start=start, end=None,
        model={"versions": [version]},
    )  # fmt: skip
    param = partition_param(load_job(job).job)
    assert param.schema["title"] == kind.capitalize()
    assert f"Score this {kind}, {start} or later" in param.description
    taken = [value for value in (None, "", start, wrong, "x", f"{start} ") if _takes(param, value)]
    assert taken == [None, "", start]


def test_versions_are_a_list_with_the_policy_as_a_choice(tmp_path: Path) -> None:
    param = model_version_param(load_job(small_job.write_job(tmp_path)).job)
    assert param.schema["enum"] == [None, "v1", "v2"]
    assert param.schema["values_display"] == {"null": "by policy"}


def test_a_registered_version_is_taken_by_its_number(tmp_path: Path) -> None:
    fixed = {"version": "v1", "uri": "mlflow:models:/delay/1", "in_force_from": "2013-03"}
    versions = [CHAMPION, fixed | {"trust": "registry"}]
    param = model_version_param(
        load_job(small_job.write_job(tmp_path, model={"versions": versions})).job
    )
    assert param.schema["examples"] == ["champion", "v1"]
    values = (None, "", "champion", "champion.3", "v1", "v1.2", "champion.0", "champion.x", "v2")
    taken = [value for value in values if _takes(param, value)]
    assert taken == [None, "", "champion", "champion.3", "v1"]
