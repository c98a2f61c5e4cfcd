"""The types of the columns of a request whose format has fewer types than a source: JSON and CSV.

A column has the type in which the last partition was read, where the manifest records it: of those
that expressions read, and of moments.  The contract names the types of the other inputs, and the
destination those of the other published columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from scoring.arrow.contract import column_of_type
from scoring.destinations.base import Publisher
from scoring.expressions.evaluate import RowExpressions
from scoring.job.columns import ROW_NUMBER
from scoring.job.inputs import ColumnConfig
from scoring.job.schema import Job


@dataclass(frozen=True)
class RequestColumns:
    """The columns that a row of a request has to have, in the order of the job.

    ``types`` has those whose types are known; any value of JSON may stand in the others.
    ``expressions`` are the stored types of the columns that expressions read.
    """

    names: list[str]
    types: Mapping[str, ColumnConfig]
    expressions: Mapping[str, str]

    @cached_property
    def needed(self) -> frozenset[str]:
        """The same columns in no order."""
        return frozenset(self.names)


@dataclass(frozen=True)
class PublishedTypes:
    """The types of what is published so far: as it was read (by name), and as it is stored."""

    read: Mapping[str, str]
    columns: pa.Schema


def published_types(publisher: Publisher) -> PublishedTypes:
    """Return the types of what is published; those that were read as the last partition records
    them that has any.
    """
    read: Mapping[str, str] = {}
    for manifest in publisher.all_published():
        read = manifest.source_types or read
    return PublishedTypes(read, publisher.columns() or pa.schema({}))


def request_columns(
    job: Job, expressions: RowExpressions, published: PublishedTypes
) -> RequestColumns:
    """Return the columns of a request, with the types of what is published so far."""
    read = published.read
    names = [name for name in expressions.columns_to_read() if name not in job.added_columns]
    types: dict[str, ColumnConfig] = {}
    for name in names:
        found = column_of_type(_arrow_type(read[name])) if name in read else None
        if found is None and name not in job.source.derive:
            found = job.inputs.get(name)
        if found is None and name in published.columns.names:
            found = column_of_type(published.columns.field(name).type)
        if found is not None:
            types[name] = found
    return RequestColumns(names, types, {n: k for n, k in read.items() if n in expressions.reads})


def _arrow_type(text: str) -> pa.DataType:
    zoned = re.fullmatch(r"timestamp\[(s|ms|us|ns), tz=(.+)\]", text)
    if zoned:
        return pa.timestamp(zoned[1], zoned[2])
    try:
        return pa.type_for_alias(text)
    except ValueError:
        return pa.null()  # of a type such as a decimal, which JSON does not have


def echoed(job: Job, columns: RequestColumns) -> list[str]:
    """Return the columns that an answer repeats as they came: row ids and kept columns."""
    given = [name for name in job.kept_columns if name != ROW_NUMBER]
    return [name for name in given if name in columns.names and name not in job.source.derive]
