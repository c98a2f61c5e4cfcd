"""Airflow operators that score partitions, and the Dags that job files stand for.

``load_jobs("jobs")`` in a Dag file makes a Dag of each job file in a folder: ``ExtractOperator`` →
``ScoreOperator`` (mapped over the shards) → ``UploadOperator``. All of them are thin: each task is
one call of the ``scoring`` library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoring_airflow.dag import job_dag
    from scoring_airflow.evaluation import evaluation_dag
    from scoring_airflow.loader import load_jobs
    from scoring_airflow.operators.evaluate import EvaluateOperator, FindActualsOperator
    from scoring_airflow.operators.extract import ExtractOperator
    from scoring_airflow.operators.score import ScoreOperator
    from scoring_airflow.operators.upload import UploadOperator

# Loaded when used: Airflow imports this package for `provider` while it reads its own
# configuration.
_WHERE = {
    "EvaluateOperator": "scoring_airflow.operators.evaluate",
    "ExtractOperator": "scoring_airflow.operators.extract",
    "FindActualsOperator": "scoring_airflow.operators.evaluate",
    "ScoreOperator": "scoring_airflow.operators.score",
    "UploadOperator": "scoring_airflow.operators.upload",
    "evaluation_dag": "scoring_airflow.evaluation",
    "job_dag": "scoring_airflow.dag",
    "load_jobs": "scoring_airflow.loader",
}

__all__ = [
    "EvaluateOperator",
    "ExtractOperator",
    "FindActualsOperator",
    "ScoreOperator",
    "UploadOperator",
    "evaluation_dag",
    "job_dag",
    "load_jobs",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'scoring_airflow' has no attribute {name!r}")
    try:
        import airflow.sdk  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(
            f"scoring_airflow needs Apache Airflow 3.2 or later ({error}): "
            "pip install 'batch-scoring[airflow]'"
        ) from error
    return getattr(import_module(_WHERE[name]), name)
