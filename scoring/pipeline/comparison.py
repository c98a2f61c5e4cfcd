"""The predictions of a partition compared with others of the same partition, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow as pa

from scoring.arrow.names import type_name
from scoring.errors import ModelError
from scoring.job.schema import Job
from scoring.monitoring.difference import Difference, difference, is_number
from scoring.pipeline.joins import join_connection, keyed, load

_MEMORY_MB = 192
"""Enough for 15 million rows; a run may do this while it holds a model."""


def compare_tables(
    job: Job,
    base: Iterator[pa.Table],
    other: Iterator[pa.Table],
    segments: Sequence[str] = (),
) -> Difference:
    """Return how the predictions ``other`` of ``job`` differ from ``base``.

    Each has one table at least, with the published columns; those of ``segments`` too, unless ``base``
    was published without one. Raises ModelError where predictions cannot be compared: they are of other
    kinds, such as numbers and texts.
    """
    first, second = next(base), next(other)
    name = job.output.prediction
    before, now = (table.schema.field(name).type for table in (first, second))
    if _family(before) != _family(now):
        raise ModelError(f"{name} is {type_name(before)} in one, and {type_name(now)} in the other")
    with join_connection("compare", _MEMORY_MB) as connection:
        load(connection, "base", (keyed(t, job, segments) for t in chain([first], base)))
        load(connection, "other", (keyed(t, job, segments) for t in chain([second], other)))
        probabilities = list(job.output.probabilities)
        return difference(connection, (before, now), probabilities, list(segments))


def _family(kind: pa.DataType) -> str:
    """Return what values must have in common to be compared: a text is never a number or a date."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_number(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_temporal(kind):
        return "instant" if getattr(kind, "tz", None) else "moment"
    return str(kind)
