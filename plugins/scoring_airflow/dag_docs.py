"""The page of a Dag in the web UI: what the job scores, with which versions, and how to do it
again.
"""

from __future__ import annotations

from scoring.job.loader import JobFile
from scoring.job.schema import Job


def dag_doc(job_file: JobFile) -> str:
    """Return the page as Markdown."""
    job = job_file.job
    until = f" to {job.end}" if job.end else ""
    return (
        f"{job.description}\n\n"
        f"One run scores one {job.partition}, from {job.start}{until}, in {job.timezone} time.\n\n"
        f"- from `{job.source.place}`\n- to `{job.destination.uri}`\n"
        f"- column `{job.output.prediction}`\n- job file `{job_file.path.name}`\n\n"
        f"{_model_doc(job)}\n\n{_again_doc(job)}\n{_run_doc(job)}"
    )


def _model_doc(job: Job) -> str:
    if job.model is None:
        return f"Scored by `{job.scorer}`."
    rows = "\n".join(
        f"| {v.version} | {v.in_force_from or 'candidate'} | `{v.uri}` |"
        for v in job.model.versions
    )
    policy = {
        "as_of": f"Each {job.partition} is scored with the version that was in force then.",
        "current": f"Every {job.partition} is scored with the newest version.",
    }
    return (
        f"{policy[job.model.policy]}\n\n"
        f"| model version | in force from | file |\n|---|---|---|\n{rows}"
    )


def _again_doc(job: Job) -> str:
    first = job.first_partition.key
    command = f"airflow scoring backfill {job.name} {first}"
    if job.model is None:
        return f"To score a {job.partition} again, here {first}:\n\n    {command}"
    newest = job.version_names[-1]
    return (
        f"To score a {job.partition} again, here {first} with {newest}:\n\n"
        f"    {command} --model-version {newest}"
    )


def _run_doc(job: Job) -> str:
    """Return what one has to know when a run does not start, or is late."""
    notes = []
    if job.run.queue:
        notes.append(
            f"Tasks wait in the queue `{job.run.queue}`: some worker has to take tasks from it."
        )
    if job.run.pool:
        notes.append(
            f"Tasks need a slot of the pool `{job.run.pool}`. Without such a pool (Admin, Pools) "
            "they stay *scheduled*, and Airflow reports no error."
        )
    if job.run.executor:
        notes.append(f"Tasks are run by `{job.run.executor}`.")
    if job.run.deadline_hours:
        notes.append(f"A run is late {job.run.deadline_hours:g} hours after it was queued.")
    if job.alerts:
        names = ", ".join(f"`{alert.notifier.rpartition('.')[2]}`" for alert in job.alerts)
        notes.append(f"A failed or late run is reported by {names}.")
    return "".join(f"\n{line}\n" for line in notes)
