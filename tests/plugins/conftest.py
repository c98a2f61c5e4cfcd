"""What the tests of the operators share: a Dag of the three operators, whose tasks run one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import shell, small_job

PUBLISHED = Path("predictions/small_flights/month=2013-02/predictions.parquet")
FEBRUARY = datetime(2013, 2, 2, 3, tzinfo=UTC)

Start = Callable[..., SimpleNamespace]


def scored(of: SimpleNamespace) -> list[Any]:
    """What the score task has returned for each shard, after extract has run."""
    assert of.run.run(of.extract).state == "success"
    results = []
    for shard in of.run.returned(of.extract):
        of.score.shard = shard
        assert of.run.run(of.score).state == "success"
        results.append(of.run.returned(of.score))
    return results


@pytest.fixture(scope="session")
def by_shell(
    small_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[bytes, dict[str, Any]]]:
    """Predictions and manifest of February as the shell command makes them from files, once for the
    same options.
    """

    @cache
    def score(*options: str) -> tuple[bytes, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("by_shell")
        data = shutil.copytree(small_data, folder / "data")
        manifest = shell.score(small_job.write_job(folder), "2013-02", data, *options)
        return (data / PUBLISHED).read_bytes(), manifest

    return score


@pytest.fixture
def start(airflow_database: None, data: Path, tmp_path: Path) -> Start:
    """Starts a run of extract, score and upload on the small job.

    ``changes`` are changes of the job file.  The namespace that is returned holds the ``run``, the
    operators, the ``job`` file and ``published``, the folder that the job publishes to.
    """
    from airflow.sdk import DAG, Asset
    from scoring_airflow import (
        EvaluateOperator,
        ExtractOperator,
        ScoreOperator,
        UploadOperator,
    )

    from tests.one_run import OneRun

    def start(
        interval_start: datetime | None = FEBRUARY,
        run_id: str = "run",
        extract: dict[str, Any] | None = None,
        conf: dict[str, Any] | None = None,
        **changes: Any,
    ) -> SimpleNamespace:
        job = small_job.write_job(tmp_path, **changes)
        arguments = {"job_file": str(job), "retries": 2}
        with DAG(f"one_{tmp_path.name}", schedule=None, default_args=arguments) as dag:
            of = SimpleNamespace(
                extract=ExtractOperator(task_id="extract", **(extract or {})),
                score=ScoreOperator(task_id="score", shard={}),
                evaluate=EvaluateOperator(task_id="evaluate"),
                upload=UploadOperator(task_id="upload", scored=[], outlets=[Asset("published")]),
            )
        of.run = OneRun(dag, interval_start, run_id, conf)
        of.job, of.published = job, data / "predictions" / "small_flights"
        return of

    return start
