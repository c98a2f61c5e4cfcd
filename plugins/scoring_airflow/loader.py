"""The Dags of each job file in a folder; what is wrong with one job stops no other."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.sdk import get_parsing_context

from scoring.errors import JobError
from scoring.job.destinations import Destinations, message
from scoring.job.loader import load_job
from scoring_airflow.dag import job_dag
from scoring_airflow.evaluation import SUFFIX, evaluation_dag
from scoring_airflow.import_errors import report_import_error


def load_jobs(folder: str | Path) -> None:
    """Make a Dag of each job file (``*.yaml``) in ``folder``, which is relative to the Dag file, and
    a second one, which evaluates predictions, of a job with ``actuals``.

    Airflow finds the Dags as global variables of the Dag file that calls this. A job file with a
    mistake becomes an import error of its own. So does one that publishes where a job before it in
    the alphabet does: that one goes on.

    Raises JobError, an import error of the Dag file, where there is no such folder or no job file in
    it, and reports files that end in ``.yml``.
    """
    dag_file = sys._getframe(1).f_globals
    jobs = Path(dag_file["__file__"]).parent / folder
    if not jobs.is_dir():
        raise JobError(
            f"load_jobs({str(folder)!r}): {jobs} is not a folder; name the folder of the job files, "
            "relative to the Dag file"
        )
    wanted = get_parsing_context().dag_id  # a task needs its own job's Dags only
    if wanted:
        wanted = wanted.removesuffix(SUFFIX)
    if not wanted:
        _check_files(jobs, str(folder))
    destinations = Destinations()
    for path in sorted(jobs.glob(f"{wanted or '*'}.yaml")):
        try:
            job_file = load_job(path)
            dag = job_dag(job_file)
            if other := destinations.add(job_file):
                raise JobError(message(job_file, other))
            evaluation = evaluation_dag(job_file) if job_file.job.actuals else None
            dag_file[f"dag_{path.stem}"] = dag
            if evaluation is not None:
                dag_file[f"dag_{path.stem}_evaluate"] = evaluation
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a job, the others keep working
            report_import_error(path, error)


def _check_files(jobs: Path, folder: str) -> None:
    """Report files that end in ``.yml``; raise JobError for a folder without any job file."""
    misnamed = sorted(jobs.glob("*.yml"))
    if not misnamed and not any(jobs.glob("*.yaml")):
        raise JobError(f"load_jobs({folder!r}): there is no job file (*.yaml) in {jobs}")
    for path in misnamed:
        report_import_error(path, JobError(f"{path} is not read: a job file ends in .yaml"))
