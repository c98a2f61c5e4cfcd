"""A run that publishes into a folder of one's own: everything but what readers of the job see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scoring.destinations.manifest import Manifest
from scoring.errors import HeldError, PublicationError
from scoring.job.checks import ChecksConfig
from scoring.job.destinations import canonical, overlap
from scoring.job.schema import Job
from scoring.monitoring.drift import ColumnDrift
from scoring.monitoring.judgement import reasons_to_hold
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.local import OnProgress, score_partition


def dry_run(
    context: PartitionContext,
    folder: Path,
    pinned_version: str | None = None,
    workers: int | None = None,
    on_progress: OnProgress = lambda step, rows, total: None,
) -> Manifest:
    """Score the partition as a run does, and write what it would publish to ``folder``.

    What is published so far counts as for a run: the types of the columns, and the references of
    drift.  Nothing is written at the job's destination.  Raises what ``score_partition`` raises;
    DestinationTakenError where another job publishes there, or in ``folder``; PublicationError
    where ``folder`` is at the destination, within it or around it; and HeldError where a run would
    be held, after it has written the files.
    """
    check_elsewhere(context, folder)
    context.publisher.mark(context.partition)  # whose is it?
    elsewhere = replace(
        context,
        job_file=replace(context.job_file, job=_published_in(context.job, folder)),
        published_by=context.job,
    )
    manifest = score_partition(
        elsewhere, {"by": "dry run"}, pinned_version, workers, on_progress, replace_newer=True
    )
    drift = context.job.checks.drift
    found = [ColumnDrift.model_validate(one) for one in manifest.drift]
    if drift is not None and (reasons := reasons_to_hold(found, drift.hold)):
        listed = "\n".join(f"  {reason}" for reason in reasons)
        raise HeldError(
            f"{context.name} would be held: its values have moved beyond checks.drift.hold\n{listed}"
        )
    return manifest


def check_elsewhere(context: PartitionContext, folder: Path) -> None:
    """Raise PublicationError where ``folder`` overlaps with the job's destination."""
    destination = context.publisher.uri
    if overlap(canonical(str(folder)), canonical(destination)):
        raise PublicationError(
            f"{folder} overlaps with the destination of {context.job.name}, {destination}, where a "
            "dry run writes nothing. Name another folder with --out"
        )


def _published_in(job: Job, folder: Path) -> Job:
    """Return ``job`` with another destination; whether it is held is asked at the end."""
    uri = str(folder.absolute()).replace("{", "{{").replace("}", "}}")
    elsewhere = job.destination.model_copy(update={"uri": uri})
    return job.model_copy(update={"destination": elsewhere, "checks": _without_hold(job.checks)})


def _without_hold(checks: ChecksConfig) -> ChecksConfig:
    if checks.drift is None:
        return checks
    return checks.model_copy(update={"drift": checks.drift.model_copy(update={"hold": None})})
