"""A look at single rows: what comes in, what is derived, what comes out or why nothing does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.text import decoded
from scoring.contract import quarantine
from scoring.job.columns import IN_FILE
from scoring.job.schema import Job
from scoring.models.base import ModelFile
from scoring.pipeline.checked_rows import LEFT_OUT, QUARANTINED, SCORED
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.cpus import available_cores, limited_threads
from scoring.pipeline.first_rows import (
    FirstRows,
    open_beginning,
    read_beginning,
    score_beginning,
)
from scoring.pipeline.score import checked_model

Values = dict[str, Any]
"""One row's values by column, as Python has them."""


@dataclass
class TriedRow:
    """A row and what became of it.

    ``row`` is its number in the source, from 1; ``ids`` and ``inputs`` are the columns that the job
    reads, as the source has them. ``outputs`` are as they would be published; a row that is not
    SCORED has a ``reason`` in their place, and the ``column`` and ``value`` that it is about.
    """

    row: int
    ids: Values
    inputs: Values
    derived: Values
    status: str = SCORED
    outputs: Values = field(default_factory=dict)
    reason: str | None = None
    column: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class Trial:
    """``seconds`` is how long ``rows`` took together, from the source's columns to the outputs, when
    they were scored for the second time.
    """

    source: str
    model: ModelFile
    rows: list[TriedRow]
    seconds: float


def try_rows(context: PartitionContext, count: int, pinned_version: str | None = None) -> Trial:
    """Score the first ``count`` rows of the partition; nothing is staged or published.

    Raises what a run raises before its gates: SourceError, ContractError for a column of another
    kind, ModelError, ScorerError, and PublicationError for outputs that do not fit what is
    published.
    """
    file = context.model_file(pinned_version)
    context = context.with_inputs_of(file)
    source = open_beginning(context)
    batch = read_beginning(source, count)
    with limited_threads(context.job.run.threads or available_cores()):
        model = checked_model(context, file)
        score_beginning(context, source, batch, model)  # the first time, libraries warm up
        started = time.perf_counter()
        found = score_beginning(context, source, batch, model)
        seconds = time.perf_counter() - started
    return Trial(source.uri, file, _rows(found, context.job), seconds)


def _rows(found: FirstRows, job: Job) -> list[TriedRow]:
    names = [name for name in found.given.column_names if name != IN_FILE]
    ids = [name for name in names if name in job.id_columns]
    derived = [name for name in names if name in job.source.derive and name not in ids]
    others = [name for name in names if name not in (*ids, *derived)]
    columns = [_values(found.given, group) for group in (ids, others, derived)]
    rows = [TriedRow(number, *parts) for number, parts in enumerate(zip(*columns, strict=True), 1)]
    for row, reason, column, value in chain.from_iterable(
        map(quarantine.reasons, found.quarantined)
    ):
        rows[row - 1].status = QUARANTINED
        rows[row - 1].reason, rows[row - 1].column, rows[row - 1].value = reason, column, value
    for row, reason in _left_out(found):
        rows[row - 1].status, rows[row - 1].reason = LEFT_OUT, reason
    outputs = [name for name in found.published.column_names if name not in job.kept_columns]
    scored = (row for row in rows if row.status == SCORED)
    for one, values in zip(scored, _values(found.published, outputs), strict=True):
        one.outputs = values
    return rows


def _values(table: pa.Table, names: list[str]) -> list[Values]:
    columns = [decoded(combined_column(table, name)).to_pylist() for name in names]
    rows = zip(*columns, strict=True) if columns else [()] * table.num_rows
    return [dict(zip(names, row, strict=True)) for row in rows]


def _left_out(found: FirstRows) -> Iterator[tuple[int, str]]:
    if found.left_out is not None:
        for row, reason, _, _ in quarantine.reasons(found.left_out):
            yield row, reason
    for one in found.predictions.left_out.to_pylist():  # by the scorer
        yield int(found.rows[one["position"]]), one["reason"]
