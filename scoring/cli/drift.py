"""``drift``: how far a partition's inputs and predictions have moved, and from what."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import PublicationError

if TYPE_CHECKING:
    from scoring.monitoring.drift import ColumnDrift
    from scoring.pipeline.context import PartitionContext

HELP = "show how far a partition's inputs and predictions have moved"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_partition(parser)
    parser.add_argument(
        "--against",
        metavar="PARTITION",
        help="compare with this partition (default: the model's training profile, the year before, "
        "the previous partition)",
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.monitoring.drift import worst_first

    context = shared.partition_context(options, "drift")
    _print(context, worst_first(_found(context, options.against)), options.json)
    return 0


def _found(context: PartitionContext, against: str | None) -> list[ColumnDrift]:
    """Return the drift of what is held, if the partition is, else of what is published."""
    from scoring.pipeline.hold import read_held
    from scoring.pipeline.references import of_published, of_two

    held = read_held(context)
    if held is not None and against is None:
        return held.drift
    manifest = context.publisher.published(context.partition)
    if manifest is None:
        raise PublicationError(
            f"nothing is published for {context.name} under {context.publisher.uri}; "
            f"`scoring run {context.job.name} {context.partition.key}` scores it"
        )
    if against is None:
        return of_published(context, manifest)
    other = context.job.partition_to_score(against)
    reference = context.publisher.published(other)
    if reference is None:
        raise PublicationError(f"nothing is published for {context.job.name} {other.key}")
    return of_two(context, manifest, reference)


def _print(context: PartitionContext, found: list[ColumnDrift], as_json: bool) -> None:
    """Print how far each column has moved, the one that has moved most first."""
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    if not found:
        print(
            f"{context.name}: nothing to compare with. There is no training profile (profile in "
            "model.versions), and neither the partition before nor that of the year before is "
            "published"
        )
        return
    output.table_of([_drift_facts(one) for one in found], as_json=False)


def _drift_facts(one: ColumnDrift) -> dict[str, Any]:
    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    return {
        "column": one.column,
        "": one.role,
        "against": one.reference,
        "verdict": one.verdict,
        "PSI": figure(one.psi),
        "warns from": figure(one.psi_warns),
        "KS": figure(one.ks),
        "Wasserstein/σ": figure(one.wasserstein),
        "Jensen-Shannon": figure(one.jensen_shannon),
        "nulls": f"{one.nulls:.2%}",
        "before": f"{one.reference_nulls:.2%}",
        "new values": "" if one.new is None else f"{one.new:.2%}",
        "rows": one.rows,
    }
