"""A run's first steps on the first rows of a partition: what would go wrong in it, in seconds.

Nothing is staged, published or left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pyarrow as pa

from scoring.contract.gates import check_gates, max_quarantined_fraction
from scoring.contract.rules import Rule
from scoring.contract.tally import Tally
from scoring.errors import ContractError, SourceMissingError
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.models.base import Model, ModelFile
from scoring.models.trees.attach import trees_of
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.cpus import available_cores, limited_threads
from scoring.pipeline.first_rows import open_beginning, read_beginning, score_beginning
from scoring.pipeline.key_suggestion import suggest_key
from scoring.pipeline.score import checked_model
from scoring.sources.base import Source
from scoring.sources.files import FileSource
from scoring.storage.local import without_new_folders

ROWS = 100
PARTITIONS_LOOKED_FOR = 100
"""From the job's start on, until the source of one is there."""


@dataclass
class Rehearsal:
    """What was found, step by step; a step that was not reached is None."""

    partition: Partition
    source: SourceFound | None = None
    model: ModelFile | None = None
    runtime_versions: dict[str, str] = field(default_factory=dict)
    trees: dict[str, str] = field(default_factory=dict)
    by_position: list[str] | None = None
    """The inputs in the job's order, for a model that does not say which names it expects."""
    tally: Tally | None = None
    example: dict[str, Any] | None = None
    destination: str | None = None


@dataclass(frozen=True)
class SourceFound:
    """``rows`` and ``bytes`` are None where only reading it all could show them."""

    uri: str
    rows: int | None
    bytes: int | None
    files: int | None


OnStep = Callable[[str, Rehearsal], None]
"""Called when a step has succeeded: ``source``, ``model``, ``rows`` or ``destination``."""


def partition_with_source(context: PartitionContext) -> Partition:
    """Return the first partition of the job whose source is there; its first one where none is
    found.
    """
    job = context.job
    for partition in islice(_partitions(job), PARTITIONS_LOOKED_FOR):
        try:
            open_beginning(replace(context, partition=partition))
        except SourceMissingError:
            continue
        return partition
    return job.first_partition


def _partitions(job: Job) -> Iterator[Partition]:
    partition, last = job.first_partition, job.last_partition
    while last is None or not last < partition:
        yield partition
        partition = partition.next()


def rehearse(
    context: PartitionContext,
    pinned_version: str | None = None,
    on_step: OnStep = lambda step, found: None,
) -> Rehearsal:
    """Score the first rows of the partition, and see whether it could be published.

    Raises what a run would raise: SourceError, ModelError, ScorerError, PublicationError, and
    ContractError where these rows alone break the contract beyond what the job tolerates.
    """
    found = Rehearsal(context.partition)
    file = context.model_file(pinned_version) if context.job.has_inputs_of_model else None
    if file is not None:  # its signature says which columns are read
        context = context.with_inputs_of(file)
    source = open_beginning(context)
    batch = read_beginning(source, ROWS)
    found.source = _described(source, batch)
    on_step("source", found)
    with limited_threads(context.job.run.threads or available_cores()):
        found.model = file or context.model_file(pinned_version)
        model = checked_model(context, found.model)
        found.runtime_versions = model.runtime_versions
        found.trees = trees_of(model)
        found.by_position = _by_position(context.job, model)
        on_step("model", found)
        found.tally, found.example = _scored(context, source, batch, model)
    on_step("rows", found)
    _check_gates(context, found.source, found.tally)
    publisher = context.publisher
    publisher.mark(context.partition)
    with without_new_folders(f"{publisher.uri}/{context.partition.path}/predictions"):
        publisher.check_writable(context.partition)
    found.destination = publisher.uri
    on_step("destination", found)
    return found


def _by_position(job: Job, model: Model) -> list[str] | None:
    if job.scorer is not None or job.model is None or job.model.input == "records":
        return None
    return [*job.inputs] if model.inputs is None else None


def _scored(
    context: PartitionContext, source: Source, batch: pa.Table, model: Model
) -> tuple[Tally, dict[str, Any] | None]:
    """Return the tally of ``batch``, checked and scored as a run does it, and one row that was
    scored.
    """
    job = context.job
    tally = Tally(examples_per_rule=job.checks.examples)
    found = score_beginning(context, source, batch, model)
    tally.rows_in = batch.num_rows
    for rows in found.quarantined:
        tally.add(rows)
    if found.left_out is not None:
        tally.leave_out(found.left_out.column("reason").to_pylist())
    tally.leave_out(found.predictions.left_out.column("reason").to_pylist())
    if len(found.repeated_ids):
        advice = suggest_key(context, source, found.repeated_ids)
        tally.advice[str(Rule("duplicate_row_id"))] = advice
    examples = found.predictions.table.slice(0, 1).to_pylist()
    return tally, examples[0] if examples and job.checks.examples else None


def _check_gates(context: PartitionContext, source: SourceFound, tally: Tally) -> None:
    """Raise ContractError where the gates of the whole partition can no longer be passed."""
    rows = tally.rows_in if tally.rows_in < ROWS else source.rows
    if rows is not None:
        whole = replace(tally, rows_in=rows)
        check_gates(whole, context.job, context.partition, at_least=rows > tally.rows_in)
        return
    for verdict, problem in max_quarantined_fraction(tally, context.job):
        if not verdict.passed and verdict.limit == 0:
            raise ContractError(f"{context.name}: {problem}")


def _described(source: Source, batch: pa.Table) -> SourceFound:
    rows = batch.num_rows if batch.num_rows < ROWS else source.rows
    files = source.files if isinstance(source, FileSource) else None
    return SourceFound(
        uri=source.uri,
        rows=rows,
        bytes=sum(file.bytes for file in files) if files is not None else None,
        files=len(files) if files is not None else None,
    )
