"""A run that publishes into a folder of one's own: everything but what readers of the job see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scoring.destinations.manifest import Manifest
from scoring.errors import HeldError, PublicationError
from scoring.job.checks import ChecksConfig
from scoring.job.destinations import canonical, overlap
from scoring.monitoring.difference import Difference
from scoring.monitoring.drift import ColumnDrift
from scoring.monitoring.judgement import reasons_to_hold
from scoring.pipeline.changes import beyond
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.elsewhere import moved
from scoring.pipeline.hold import CHANGES, DRIFT, accepted
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
    uri = str(folder.absolute()).replace("{", "{{").replace("}", "}}")
    elsewhere = replace(
        context,
        job_file=replace(context.job_file, job=moved(context.job, uri)),
        published_by=context.job,
    )
    run = accepted({"by": "dry run"}, "dry run", drift="dry run", changes="dry run")
    manifest = score_partition(
        elsewhere, run, pinned_version, workers, on_progress, replace_newer=True
    )
    if reasons := list(_reasons_to_hold(manifest, context.job.checks)):
        listed = "\n".join(f"  {reason}" for reason in reasons)
        raise HeldError(f"{context.name} would be held\n{listed}")
    return manifest


def _reasons_to_hold(manifest: Manifest, checks: ChecksConfig) -> Iterator[str]:
    """Yield why a run would be held; what needs no acceptance is not in the manifest as accepted."""
    if DRIFT in manifest.run and checks.drift is not None:
        found = [ColumnDrift.model_validate(one) for one in manifest.drift]
        yield from reasons_to_hold(found, checks.drift.hold)
    if CHANGES in manifest.run and manifest.difference is None:
        yield "what is published cannot be compared"
    elif CHANGES in manifest.run:
        yield from beyond(Difference.model_validate(manifest.difference), checks)


def check_elsewhere(context: PartitionContext, folder: Path) -> None:
    """Raise PublicationError where ``folder`` overlaps with the job's destination."""
    destination = context.publisher.uri
    if overlap(canonical(str(folder)), canonical(destination)):
        raise PublicationError(
            f"{folder} overlaps with the destination of {context.job.name}, {destination}, where a "
            "dry run writes nothing. Name another folder with --out"
        )
