"""Arrow tables on their way from a source to the steps: cut anew, and with the columns asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.text import dictionary_encoded
from scoring.errors import SourceError, quoted


def check_columns(uri: str, wanted: list[str], present: list[str]) -> None:
    """SourceError if a wanted column is not there, or is there more than once."""
    missing = [name for name in wanted if name not in present]
    if missing:
        raise SourceError(
            f"{uri} has no column {', '.join(map(repr, missing))}; it has "
            f"{quoted(', '.join(present), 1000)}. Nothing was published"
        )
    doubled = [name for name in wanted if present.count(name) > 1]
    if doubled:
        raise SourceError(
            f"{uri} has more than one column {', '.join(map(repr, doubled))}; nothing was published"
        )


def rechunked(pieces: Iterator[pa.Table], sizes: Iterator[int], uri: str) -> Iterator[pa.Table]:
    """The rows of ``pieces``, cut anew into tables of ``sizes``; without rows, one empty table.

    Only the last table may be shorter than its size.  ``pieces`` may be empty, but there is one at
    least.  Raises SourceError naming ``uri`` where a column's types cannot be one.
    """
    size, rows, given = next(sizes), 0, False
    waiting: list[pa.Table] = []
    for piece in pieces:
        empty = piece.slice(0, 0)
        while piece.num_rows:
            waiting.append(piece.slice(0, size - rows))
            rows += waiting[-1].num_rows
            piece = piece.slice(waiting[-1].num_rows)
            if rows == size:
                yield _joined(waiting, uri)
                waiting, rows, size, given = [], 0, next(sizes), True
    if rows:
        yield _joined(waiting, uri)
    elif not given:
        yield empty


def type_conflict(uri: str, error: Exception) -> SourceError:
    """The error for a column that comes in types that cannot be one."""
    return SourceError(
        f"{uri}: the same column comes in different types: {error}; nothing was published"
    )


def _joined(tables: list[pa.Table], uri: str) -> pa.Table:
    """One table of the rows of all; files may store the same column in different types."""
    if any(table.schema != tables[0].schema for table in tables):
        tables = [_with_encoded_text(table) for table in tables]
    try:
        joined = pa.concat_tables(tables, promote_options="permissive")
        return joined.unify_dictionaries().combine_chunks()
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise type_conflict(uri, error) from error


def _with_encoded_text(table: pa.Table) -> pa.Table:
    return pa.table(
        {name: dictionary_encoded(combined_column(table, name)) for name in table.column_names}
    )
