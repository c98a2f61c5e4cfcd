"""The operators: one for each step of scoring a partition."""

from scoring_airflow.operators.extract import ExtractOperator
from scoring_airflow.operators.score import ScoreOperator
from scoring_airflow.operators.upload import UploadOperator

__all__ = ["ExtractOperator", "ScoreOperator", "UploadOperator"]
