"""What the tests of the operators share: a Dag of the three operators, whose tasks run one by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import small_job

FEBRUARY = datetime(2013, 2, 2, 3, tzinfo=UTC)

Start = Callable[..., SimpleNamespace]


@pytest.fixture
def start(airflow_database: None, data: Path, tmp_path: Path) -> Start:
    """Starts a run of extract, score and upload on the small job.

    ``changes`` are changes of the job file.  The namespace that is returned holds the ``run``, the
    operators, the ``job`` file and ``published``, the folder that the job publishes to.
    """
    from airflow.sdk import DAG, Asset
    from scoring_airflow import ExtractOperator, ScoreOperator, UploadOperator

    from tests.one_run import OneRun

    def start(
        interval_start: datetime | None = FEBRUARY,
        run_id: str = "run",
        extract: dict[str, Any] | None = None,
        **changes: Any,
    ) -> SimpleNamespace:
        job = small_job.write_job(tmp_path, **changes)
        arguments = {"job_file": str(job), "retries": 2}
        with DAG(f"one_{tmp_path.name}", schedule=None, default_args=arguments) as dag:
            of = SimpleNamespace(
                extract=ExtractOperator(task_id="extract", **(extract or {})),
                score=ScoreOperator(task_id="score", shard={}),
                upload=UploadOperator(task_id="upload", scored=[], outlets=[Asset("published")]),
            )
        of.run = OneRun(dag, interval_start, run_id)
        of.job, of.published = job, data / "predictions" / "small_flights"
        return of

    return start
