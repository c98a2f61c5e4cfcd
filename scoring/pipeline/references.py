"""What a partition is compared with: the training profile of its model, and earlier partitions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from scoring.destinations.manifest import Manifest
from scoring.errors import ModelError
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.models.base import ProfileFile
from scoring.models.stored import bytes_of
from scoring.monitoring.distribution import Distribution, of_manifest, parse_profile
from scoring.monitoring.drift import ColumnDrift, compare
from scoring.monitoring.statistics import Counts
from scoring.pipeline.context import PartitionContext

NOT_COMPARED = ("timestamp", "date")
"""Types of inputs that move with the calendar, as they should."""


def drift_of(
    context: PartitionContext,
    profile: ProfileFile | None,
    inputs: Mapping[str, Counts],
    outputs: Mapping[str, Counts],
) -> list[ColumnDrift]:
    """Return how the columns of the partition differ from each reference, the main one first."""
    found: list[ColumnDrift] = []
    compared = _comparable(context.job, inputs)
    for name, reference in references(context, profile):
        found += compare("input", compared, name, reference.inputs)
        found += compare("output", outputs, name, reference.outputs)
    return found


def references(
    context: PartitionContext, profile: ProfileFile | None
) -> Iterator[tuple[str, Distribution]]:
    """Yield names and distributions: the training profile where the model version has one, the same
    partition of the year before, and the previous one, if they are published.

    The first is the main one, by which a partition is judged.
    """
    if profile is not None:
        yield "the training profile", load_profile(profile, context)
    for partition in _earlier(context.partition, context.job):
        manifest = context.so_far.published(partition)
        if manifest is not None:
            yield partition.key, of_manifest(manifest)


def of_published(context: PartitionContext, manifest: Manifest) -> list[ColumnDrift]:
    """Return the drift of a published partition, from its manifest and those of the references."""
    own = of_manifest(manifest)
    profile = manifest.model.profile
    given = ProfileFile(**profile.model_dump()) if profile else None
    return drift_of(context, given, own.inputs, own.outputs)


def of_two(context: PartitionContext, manifest: Manifest, reference: Manifest) -> list[ColumnDrift]:
    """Return how a published partition differs from another one."""
    own, other = of_manifest(manifest), of_manifest(reference)
    inputs = _comparable(context.job, own.inputs)
    return [
        *compare("input", inputs, reference.partition, other.inputs),
        *compare("output", own.outputs, reference.partition, other.outputs),
    ]


def load_profile(profile: ProfileFile, context: PartitionContext) -> Distribution:
    """Return the training profile; ModelError if its bytes are not those that were there at extract."""
    data = bytes_of(profile.uri, f"{context.job.name} profile", context.connections)
    if hashlib.sha256(data).hexdigest() != profile.sha256:
        raise ModelError(
            f"the training profile {profile.uri} is no longer the one that {context.name} was "
            "extracted with; run the partition again"
        )
    return parse_profile(data, profile.uri)


def _comparable(job: Job, inputs: Mapping[str, Counts]) -> dict[str, Counts]:
    """Return the inputs without moments; where the signature is the contract, all of them."""
    moments = {name for name, column in job.inputs.items() if column.type in NOT_COMPARED}
    return {name: counts for name, counts in inputs.items() if name not in moments}


def _earlier(partition: Partition, job: Job) -> Iterator[Partition]:
    for earlier in (partition.year_before(), partition.previous()):
        if earlier is not None and not earlier < job.first_partition:
            yield earlier
