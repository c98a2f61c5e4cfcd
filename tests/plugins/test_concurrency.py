from __future__ import annotations

import pytest
from scoring_airflow.concurrency import tasks_at_once


@pytest.mark.parametrize(
    ("configured", "executor", "expected"),
    [
        ("LocalExecutor", None, 6),
        ("CeleryExecutor", None, 3),
        ("KubernetesExecutor", None, 1),
        ("LocalExecutor,CeleryExecutor", None, 6),
        ("LocalExecutor,CeleryExecutor", "CeleryExecutor", 3),
        ("LocalExecutor,airflow.providers.celery.executors.celery_executor.CeleryExecutor", None, 6),
        ("LocalExecutor,gpu:airflow.providers.celery.executors.celery_executor.CeleryExecutor", "gpu", 3),
        ("LocalExecutor,pods:my.own.KubernetesExecutor", "pods", 1),
        ("LocalExecutor,pods:my.own.KubernetesExecutor", "my.own.KubernetesExecutor", 1),
    ],
)  # fmt: skip
def test_it_follows_from_the_executor(
    configured: str, executor: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", configured)
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "6")
    monkeypatch.setenv("AIRFLOW__CELERY__WORKER_CONCURRENCY", "3")
    assert tasks_at_once(executor) == expected
