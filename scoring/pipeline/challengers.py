"""Challengers: versions that score the rows of a partition beside the one that is published.

What a challenger makes of a partition lies under ``DESTINATION/_challengers/VERSION/``, laid out as the
destination itself: predictions, quarantine, manifest. Readers of the destination never see it. What is
wrong with a challenger is recorded, and does not keep the partition from being published.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from scoring.destinations.layout import CHALLENGERS
from scoring.errors import ContractError, JobError, MissingPackageError, ModelError, ScorerError
from scoring.job.schema import Job
from scoring.models.base import ModelFile
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.elsewhere import job_elsewhere


class Challengers(BaseModel):
    """The model files of the challengers of a partition by version, and why others have none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[str, ModelFile] = {}
    errors: dict[str, str] = {}


NO_CHALLENGERS = Challengers()

OWN_ERRORS = (ModelError, ScorerError, ContractError, JobError, MissingPackageError)
"""What is wrong with a challenger itself, and stays. Other errors may be gone at the next try."""


def find_challengers(context: PartitionContext, champion: ModelFile) -> Challengers:
    """Return the challengers of a partition that ``champion`` scores; it is none of its own."""
    files: dict[str, ModelFile] = {}
    errors: dict[str, str] = {}
    for version in context.job.challengers:
        try:
            file = context.model_file(version)
        except OWN_ERRORS as error:
            errors[version] = str(error)
            continue
        if file.version != champion.version:
            files[version] = file
    return Challengers(files=files, errors=errors)


def challenger_context(context: PartitionContext, version: str) -> PartitionContext:
    """Return the context in which ``version`` scores the partition of ``context``.

    What it stages lies within the staging of ``context``, and goes with it.
    """
    job = job_of_challenger(context.job, version)
    return replace(
        context,
        job_file=replace(context.job_file, job=job),
        columns=None,
        published_by=None,
        staged_in=f"{context.staging}/challengers/{version}",
    )


def job_of_challenger(job: Job, version: str) -> Job:
    """Return ``job`` as ``version`` scores it beside the one that is published."""
    return job_elsewhere(job, f"{job.destination.uri.rstrip('/')}/{CHALLENGERS}/{version}")
