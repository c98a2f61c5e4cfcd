"""Partitions that are held: scored and staged, and published only when somebody accepts why."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, ValidationError

from scoring.destinations.manifest import RowsRecord
from scoring.errors import HeldError, PublicationError
from scoring.monitoring.difference import Difference
from scoring.monitoring.drift import ColumnDrift
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import Extraction, Scored, load_extraction
from scoring.storage.base import write

DRIFT, CHANGES, BY = "accepted_drift", "accepted_changes", "accepted_by"
"""The keys of a manifest's ``run`` that say why a partition was published in spite of drift, or of how
much it differs from what was published before, and who said so."""


class Held(BaseModel):
    """What is needed to publish a partition later: the attempt, and what its steps handed over.

    ``reasons`` are about drift, ``changes`` about what is published.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    partition: str
    attempt: str
    model_version: str
    reasons: list[str]
    drift: list[ColumnDrift]
    changes: list[str] = []
    difference: Difference | None = None
    scored: list[Scored]
    run: dict[str, str]


def held_uri(context: PartitionContext) -> str:
    return f"{context.publisher.held}/{context.partition.path}.json"


def hold(context: PartitionContext, held: Held) -> HeldError:
    """Record that the partition is held; return the error that says so."""
    write(context.storage, held_uri(context), held.model_dump_json(indent=1).encode())
    job, key = context.job.name, context.partition.key
    kinds = [
        ("its values have moved beyond checks.drift.hold", held.reasons, "accept_drift"),
        ("it differs from what is published", held.changes, "accept_changes"),
    ]
    why = "\nand ".join(f"{what}\n{_listed(found)}" for what, found, _ in kinds if found)
    conf = ", ".join(f'"{option}": "why"' for _, found, option in kinds if found)
    look = f"Look at `scoring drift {job} {key}`. " if held.reasons else ""
    error = HeldError(
        f"{context.name} is held: {why}\nIt is scored and staged, and readers have what they had "
        f'before. {look}`scoring publish {job} {key} --accept "why"` publishes it as it is; in '
        f"Airflow, so does another run with the conf {{{conf}}}"
    )
    every = [*held.reasons, *held.changes]
    others = len(every) - 1
    more = f"; and {others} more reason{'' if others == 1 else 's'}" if others else ""
    error.summary = (
        f'held: {every[0]}{more}. `scoring publish {job} {key} --accept "why"` publishes it '
        "as it is; a corrected source or job is scored again"
    )
    return error


def _listed(reasons: list[str]) -> str:
    return "\n".join(f"  {reason}" for reason in reasons)


def read_held(context: PartitionContext) -> Held | None:
    """Return the record of the partition if it is held; PublicationError for one that is broken."""
    data = context.storage.read(held_uri(context))
    if data is None:
        return None
    try:
        return Held.model_validate_json(data)
    except ValidationError as error:
        raise PublicationError(
            f"{held_uri(context)} cannot be read ({error.errors()[0]['msg']}); score the "
            "partition again"
        ) from None


def held_extraction(context: PartitionContext, held: Held) -> Extraction:
    """Return what was read of the partition that is held; NotStagedError if that is there no longer,
    or is not of this job file.
    """
    return load_extraction(replace(context, attempt=held.attempt))


def held_rows(extraction: Extraction, held: Held) -> RowsRecord:
    """Return what became of the rows so far, as a manifest would count them.

    Those that got no prediction have no reasons of their own before they are published.
    """
    tally, shards = extraction.tally, held.scored
    quarantined = sum(shard.quarantine.rows for shard in shards if shard.quarantine)
    left_out = sum(shard.left_out.rows for shard in shards if shard.left_out)
    by_scorer = {"without a prediction": quarantined} if quarantined else {}
    left_out_by_scorer = {"by the scorer": left_out} if left_out else {}
    return RowsRecord.model_validate(
        {
            "in": tally.rows_in,
            "scored": sum(shard.predictions.rows for shard in shards),
            "quarantined": tally.rows_quarantined + quarantined,
            "left_out": tally.rows_left_out + left_out,
            "reasons": tally.quarantined | by_scorer,
            "left_out_reasons": tally.left_out | left_out_by_scorer,
        }
    )


def release(context: PartitionContext) -> None:
    """Remove the record: the partition is published, or is being scored again."""
    with suppress(PublicationError, OSError):  # never worth a run: what it names is gone
        context.storage.remove(held_uri(context))


def accepted(run: Mapping[str, str], by: str, drift: str = "", changes: str = "") -> dict[str, str]:
    """Return the ``run`` of the manifest: the run that scored, why its ``drift`` and its ``changes``
    are right (empty: nobody says so), and who says so.
    """
    said = {key: why for key, why in ((DRIFT, drift), (CHANGES, changes)) if why}
    return {**run, **said, BY: by} if said else dict(run)
