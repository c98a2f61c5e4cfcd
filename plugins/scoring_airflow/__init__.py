"""Airflow operators that score partitions, and the Dags that job files stand for.

``load_jobs("jobs")`` in a Dag file makes a Dag of each job file in a folder: ``ExtractOperator`` →
``ScoreOperator`` (mapped over the shards) → ``UploadOperator``.  All of them are thin: each task is one
call of the ``scoring`` library.
"""

from scoring_airflow.dag import job_dag
from scoring_airflow.loader import load_jobs
from scoring_airflow.operators import ExtractOperator, ScoreOperator, UploadOperator

__all__ = ["ExtractOperator", "ScoreOperator", "UploadOperator", "job_dag", "load_jobs"]
