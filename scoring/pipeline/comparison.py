"""The predictions of a partition compared with others of the same partition, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow as pa

from scoring.arrow.names import type_name
from scoring.job.schema import Job
from scoring.monitoring.difference import Difference, difference, is_number
from scoring.pipeline.joins import join_connection, keyed, load

_MEMORY_MB = 192
"""Enough for 15 million rows; a run may do this while it holds a model."""


class NotComparableError(Exception):
    """The predictions cannot be compared: they are numbers on one side only."""


def compare_tables(
    job: Job,
    base: Iterator[pa.Table],
    other: Iterator[pa.Table],
    segments: Sequence[str] = (),
) -> Difference:
    """Return how the predictions ``other`` of ``job`` differ from ``base``.

    Each has one table at least, with the published columns; ``segments`` are columns of ``other``.
    Raises NotComparableError.
    """
    first, second = next(base), next(other)
    name = job.output.prediction
    before, now = (table.schema.field(name).type for table in (first, second))
    if is_number(before) != is_number(now):
        raise NotComparableError(
            f"{name} is {type_name(before)} in one, and {type_name(now)} in the other"
        )
    with join_connection("compare", _MEMORY_MB) as connection:
        load(connection, "base", (keyed(table, job) for table in chain([first], base)))
        load(connection, "other", (keyed(table, job, segments) for table in chain([second], other)))
        probabilities = list(job.output.probabilities)
        return difference(connection, now, probabilities, list(segments))
