"""Arrow tables on their way from a source to the steps: cut to size, and with the requested
columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.unify import TypeConflictError, exact_cast, unified
from scoring.errors import SourceColumnsError, SourceError, quoted


def check_columns(uri: str, wanted: list[str], present: list[str]) -> None:
    """Raise SourceError if a wanted column is not there, or is there more than once."""
    if missing := [name for name in wanted if name not in present]:
        what, hint = describe_missing(uri, missing, present)
        raise SourceColumnsError(
            f"{what}. Correct the names in the job file{f' (perhaps {hint})' if hint else ''}, or add "
            "the column to the source"
        )
    doubled = [name for name in wanted if present.count(name) > 1]
    if doubled:
        raise SourceColumnsError(
            f"{uri} has more than one column {', '.join(map(repr, doubled))}; rename one"
        )


def describe_missing(uri: str, missing: list[str], present: list[str]) -> tuple[str, str]:
    """Return which columns are missing, and which others may be meant by them; "" for none."""
    hints = [f"{close!r} for {name!r}" for name in missing if (close := _close(name, present))]
    what = (
        f"{uri} has no column {', '.join(map(repr, missing))}; it has "
        f"{quoted(', '.join(present), 1000) or 'none at all'}"
    )
    return what, ", ".join(hints)


def _close(name: str, present: list[str]) -> str | None:
    """Return the column that ``name`` may mean: the same but for case, or but for a typo."""
    folded = (other for other in present if other.casefold() == name.casefold())
    return next(chain(folded, difflib.get_close_matches(name, present, n=1)), None)


def rechunked(pieces: Iterator[pa.Table], sizes: Iterator[int], uri: str) -> Iterator[pa.Table]:
    """Yield the rows of ``pieces``, cut into tables of ``sizes``; without rows, one empty table.

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


def in_schema(table: pa.Table, schema: pa.Schema, uri: str) -> pa.Table:
    """Return ``table`` in the column types of an earlier one; SourceError where that would change a
    value.
    """
    columns = {}
    for name, kind in zip(schema.names, schema.types, strict=True):
        try:
            columns[name] = exact_cast(combined_column(table, name), kind)
        except TypeConflictError as error:
            raise type_conflict(uri, name, error) from None
    return pa.table(columns)


def type_conflict(uri: str, column: str, error: Exception) -> SourceError:
    """Return the error for a column that comes in types that cannot be one."""
    return SourceError(
        f"{uri}: the column {column!r} comes in different types, {error}. Store it in one type"
    )


def _joined(tables: list[pa.Table], uri: str) -> pa.Table:
    """Return one table of the rows of all; files may store the same column in different types."""
    if any(table.schema != tables[0].schema for table in tables):
        columns = {}
        for name in tables[0].column_names:
            try:
                columns[name] = unified([combined_column(table, name) for table in tables])
            except TypeConflictError as error:
                raise type_conflict(uri, name, error) from None
        tables = [
            pa.table({name: arrays[i] for name, arrays in columns.items()})
            for i in range(len(tables))
        ]
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()
