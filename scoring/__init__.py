"""Batch scoring of a partition at a time: a DataFrame in, a DataFrame out, saved as parquet.

The library is pure: it imports no Airflow, reads no clock and knows no "latest".  The steps that
Airflow's operators and the shell command share are in ``scoring.steps``; what a job file may say is
in ``scoring.job``.  Nothing heavy is imported here, because Airflow parses Dag files often.
"""

__version__ = "0.1.0"
