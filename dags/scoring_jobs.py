"""One Airflow Dag for each job file in ``dags/jobs``.  A new job is a new file, never a new line here."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import (
    get_parsing_context,  # the word DAG here lets Airflow's safe mode see this file
)
from scoring_operators import job_dag
from scoring_operators.import_errors import report_import_error

from scoring.errors import JobError
from scoring.job_file import load_job

JOBS = Path(__file__).parent / "jobs"
WANTED = get_parsing_context().dag_id  # a task needs its own Dag only, not the other jobs'

for path in sorted(JOBS.glob("*.yaml")):
    try:
        job_file = load_job(path)
        if WANTED in (None, job_file.job.name):
            globals()[f"dag_{job_file.job.name}"] = job_dag(job_file)
    except JobError as error:
        report_import_error(path, str(error))
