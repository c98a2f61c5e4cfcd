"""A partition that is scored again: how it differs from what is published, and whether by too much."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from scoring.errors import PublicationError
from scoring.job.checks import ChecksConfig
from scoring.monitoring.difference import Difference
from scoring.pipeline.comparison import NotComparableError, compare_tables
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.hold import BY, CHANGES
from scoring.pipeline.joins import joined_columns
from scoring.pipeline.published_file import PublishedPredictions, storage_of


def changes_of(
    context: PartitionContext, sha256: str, tables: Iterator[pa.Table]
) -> tuple[Difference | None, list[str]]:
    """Return how ``tables``, the predictions with the digest ``sha256`` that are about to be
    published, differ from what is, and why they are held therefore.

    Nothing is compared where the job has no limit, nothing is published, or the published file is gone.
    Where the same bytes are published, they differ from those before them as they did.
    """
    checks, manifest = context.job.checks, context.so_far.published(context.partition)
    if manifest is not None and manifest.output.sha256 == sha256:
        before = manifest.difference
        return Difference.model_validate(before) if before is not None else None, []
    if manifest is None or (checks.max_changed_fraction is None and checks.max_abs_change is None):
        return None, []
    if storage_of(context, manifest).version(manifest.output.uri) is None:
        return None, []
    try:
        published = PublishedPredictions(context, manifest)
    except PublicationError as error:
        return None, [f"what is published cannot be compared: {error}"]
    columns = joined_columns(context.job)
    if missing := published.missing(columns):
        return None, [
            f"what is published has no column {', '.join(map(repr, missing))} to compare with"
        ]
    try:
        found = compare_tables(context.job, published.batches(columns), tables)
    except NotComparableError as error:
        return None, [str(error)]
    return found, list(beyond(found, checks))


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


def accepted_before(context: PartitionContext, sha256: str) -> dict[str, str]:
    """Return who has accepted the changes of the published predictions, if they have the digest
    ``sha256``: publishing the same bytes again does not forget it.
    """
    manifest = context.so_far.published(context.partition)
    if manifest is None or manifest.output.sha256 != sha256 or CHANGES not in manifest.run:
        return {}
    return {key: value for key, value in manifest.run.items() if key in (CHANGES, BY)}
