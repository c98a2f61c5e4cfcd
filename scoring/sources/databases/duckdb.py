"""A DuckDB file, read by DuckDB itself into Arrow, in pieces of a fixed number of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from scoring.errors import SourceError
from scoring.expressions.connection import SAFE
from scoring.job.sql_params import render_paramstyle
from scoring.sources.databases.base import Wanted, must_be_cast
from scoring.sources.rechunk import check_columns

FETCH_ROWS = 131_072


class DuckDb:
    """The ``Database`` in the file ``path``, which is only read."""

    errors: tuple[type[Exception], ...] = (duckdb.Error,)

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            raise SourceError(f"there is no DuckDB file {path}")
        self._path = path

    def describe_error(self, error: Exception) -> str:
        """See ``Database``."""
        return str(error).splitlines()[0]

    def read(self, sql: str, values: Mapping[str, Any], wanted: Wanted) -> Iterator[pa.Table]:
        """See ``Database``."""
        with duckdb.connect(self._path, read_only=True, config=SAFE) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield from query(connection, sql, values, wanted)


def query(
    connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, Any], wanted: Wanted
) -> Iterator[pa.Table]:
    """Yield the rows of ``sql`` as tables of the ``wanted`` columns; without rows, an empty one."""
    rendered, names = render_paramstyle(sql, "qmark")
    reader = connection.execute(rendered, [values[name] for name in names]).to_arrow_reader(
        FETCH_ROWS
    )
    check_columns("the query", list(wanted), reader.schema.names)
    for name in wanted:
        _check_type(name, reader.schema.field(name).type)
    yield reader.schema.empty_table().select(list(wanted))
    for batch in reader:
        yield pa.Table.from_batches([batch]).select(list(wanted))


def _check_type(name: str, kind: pa.DataType) -> None:
    """Raise SourceError for types of DuckDB that have no place in a table of predictions."""
    if pa.types.is_interval(kind) or pa.types.is_time(kind) or pa.types.is_nested(kind):
        raise must_be_cast(name, str(kind), "text")
