"""Airflow operators that score partitions, and the Dag that a job file stands for.

``ExtractOperator`` → ``ScoreOperator`` (mapped over the shards) → ``UploadOperator``, wired together
by ``job_dag``.  All of them are thin: each task is one call of the ``scoring`` library.
"""

from scoring_operators.extract import ExtractOperator
from scoring_operators.job_dag import job_dag
from scoring_operators.score import ScoreOperator
from scoring_operators.upload import UploadOperator

__all__ = ["ExtractOperator", "ScoreOperator", "UploadOperator", "job_dag"]
