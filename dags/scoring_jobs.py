"""One Airflow Dag for each job file in ``dags/jobs``.  A new job is a new file, never a new line here."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import get_parsing_context
from scoring_operators import job_dag
from scoring_operators.import_errors import report_import_error

from scoring.job_file import load_job

JOBS = Path(__file__).parent / "jobs"
WANTED = get_parsing_context().dag_id  # a task needs its own Dag only, not the other jobs'

for path in sorted(JOBS.glob(f"{WANTED or '*'}.yaml")):
    try:
        globals()[f"dag_{path.stem}"] = job_dag(load_job(path))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a job, the others keep working
        report_import_error(path, error)
