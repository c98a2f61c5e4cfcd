"""The same job with another destination, for partitions that are scored and not published."""

from __future__ import annotations

from scoring.job.schema import Job


def moved(job: Job, uri: str) -> Job:
    """Return ``job`` with the destination ``uri``, as in a job file."""
    return job.model_copy(update={"destination": job.destination.model_copy(update={"uri": uri})})


def job_elsewhere(job: Job, uri: str) -> Job:
    """Return ``job`` with the destination ``uri``, alone: without challengers, and never held."""
    free = {"drift": None, "max_changed_fraction": None, "max_abs_change": None}
    changes = {
        "checks": job.checks.model_copy(update=free),
        "challengers": [],
    }
    return moved(job, uri).model_copy(update=changes)
