"""What whoever may trigger a run can do with its conf: choose a model version of the job, no more."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError
from scoring_airflow import job_dag

from scoring.job.loader import load_job
from tests import small_job
from tests.one_run import OneRun

FEBRUARY = datetime(2013, 2, 2, 3, tzinfo=UTC)


@pytest.fixture
def extracted(airflow_database: None, data: Path, tmp_path: Path):
    """Makes a run of the job's own Dag with a conf, and runs its extract task."""

    def extracted(conf: Any) -> tuple[Any, list[Path]]:
        job = small_job.write_job(tmp_path, name=f"job_{tmp_path.name}"[:90].rstrip("_"))
        run = OneRun(job_dag(load_job(job)), FEBRUARY, "run", conf)
        result = run.run(run.dag.get_task("extract"))
        return result, sorted((data / "predictions").glob("**/extraction.json"))

    return extracted


@pytest.mark.parametrize(
    "conf",
    [
        {"job_file": "/etc/passwd", "data_interval_start": "2013-03-02T03:00:00+00:00"},
        {"data_interval_end": "x", "params": {"model_version": "v2"}, "dag_run": {"conf": {}}},
        {"more": "{{ 7 * 7 }}", "destination": {"uri": "/tmp"}, "source": "/etc/passwd"},
        {"large": "x" * 10_000_000},
    ],
    ids=["fields", "context", "sections", "large"],
)
def test_other_keys_change_nothing(extracted, conf: dict[str, Any]) -> None:
    result, found = extracted(conf)
    assert (result.state, result.error) == ("success", None)
    (extraction,) = found
    assert extraction.parts[-3] == "month=2013-02"
    told = json.loads(extraction.read_text())
    assert told["model"]["version"] == "v1"
    assert told["source"]["uri"].endswith("/flights/2013-02.parquet")


@pytest.mark.parametrize(
    "version",
    [
        "../../v2",
        "{{ 'v2' }}",
        "{{ conn.scoring_s3.password }}",
        "v2'; DROP TABLE dag_run; --",
        "v" * 10_000_000,
        ["v2"],
        {"v2": 1},
        7,
    ],
    ids=["path", "template", "secret", "sql", "large", "list", "mapping", "number"],
)
def test_there_is_no_run_with_a_version_that_the_job_has_not(
    extracted, data: Path, version: Any
) -> None:
    with pytest.raises(ParamValidationError, match=r"is not (one of|of type)"):
        extracted({"model_version": version})
    assert list((data / "predictions").glob("**/*")) == []


def test_a_version_of_the_job_is_taken(extracted) -> None:
    result, (extraction,) = extracted({"model_version": "v2"})
    assert result.state == "success"
    assert json.loads(extraction.read_text())["model"]["version"] == "v2"
