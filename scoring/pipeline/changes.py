"""A partition that is scored again: how it differs from what is published, and whether by too much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from scoring.destinations.manifest import Manifest
from scoring.errors import ModelError, PublicationError
from scoring.job.checks import ChecksConfig
from scoring.monitoring.difference import Difference
from scoring.pipeline.comparison import compare_tables
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.hold import BY, CHANGES
from scoring.pipeline.joins import joined_columns
from scoring.pipeline.published_file import PublishedPredictions, storage_of


@dataclass(frozen=True)
class Changes:
    """How predictions that are about to be published differ from what is published.

    ``difference`` is None where they were not compared; ``reasons`` say why the job holds them.
    ``accepted`` says who has accepted these very predictions before, and why, as a manifest's ``run``
    does: publishing the same bytes again does not forget it.
    """

    difference: Difference | None = None
    reasons: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)


def changes_of(context: PartitionContext, sha256: str, tables: Iterator[pa.Table]) -> Changes:
    """Return how ``tables``, the predictions with the digest ``sha256`` that are about to be
    published, differ from what is.

    Nothing is compared where the job has no limit, nothing is published, or the published file is gone.
    Where the same bytes are published, they differ from those before them as they did.
    """
    checks, manifest = context.job.checks, context.so_far.published(context.partition)
    if manifest is not None and manifest.output.sha256 == sha256:
        return _as_before(manifest)
    if manifest is None or (checks.max_changed_fraction is None and checks.max_abs_change is None):
        return Changes()
    if storage_of(context, manifest).version(manifest.output.uri) is None:
        return Changes()
    try:
        published = PublishedPredictions(context, manifest)
    except PublicationError as error:
        return Changes(reasons=[f"what is published cannot be compared: {error}"])
    columns = joined_columns(context.job)
    if missing := published.missing(columns):
        without = ", ".join(map(repr, missing))
        return Changes(reasons=[f"what is published has no column {without} to compare with"])
    try:
        found = compare_tables(context.job, published.batches(columns), tables)
    except ModelError as error:
        return Changes(reasons=[str(error)])
    return Changes(found, list(beyond(found, checks)))


def _as_before(manifest: Manifest) -> Changes:
    """Return what ``manifest`` says of its predictions, which are published once more."""
    difference = manifest.difference
    said = {key: value for key, value in manifest.run.items() if key in (CHANGES, BY)}
    return Changes(
        difference=Difference.model_validate(difference) if difference is not None else None,
        accepted=said if CHANGES in said else {},
    )


def beyond(found: Difference, checks: ChecksConfig) -> Iterator[str]:
    """Yield a sentence for each limit of the job that ``found`` is beyond."""
    fraction, largest = checks.max_changed_fraction, checks.max_abs_change
    if fraction is not None and found.changed_fraction > fraction:
        yield (
            f"{found.changed_fraction:.4f} of {found.rows_in_either:,} rows differ, and "
            f"checks.max_changed_fraction is {fraction:g}: {found.changed:,} have another prediction, "
            f"{found.only_base:,} no prediction any longer, {found.only_other:,} had none before"
        )
    if largest is None:
        return
    if found.max_abs_change is None and found.changed:
        yield f"checks.max_abs_change is {largest:g}, and predictions changed that are not numbers"
    elif found.max_abs_change is not None and found.max_abs_change > largest:
        yield (
            f"a prediction changes by {found.max_abs_change:.6g}, and checks.max_abs_change is "
            f"{largest:g}; the mean change is {found.mean_change:.6g}"
        )
