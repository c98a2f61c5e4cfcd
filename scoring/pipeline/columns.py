"""The columns of a job's published table: one set of types for all partitions.

What is published so far decides; else the first partition that is. A value is never changed to fit.
"""

from __future__ import annotations

import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.names import type_name
from scoring.arrow.published import published_type
from scoring.arrow.unify import TypeConflictError, exact_cast
from scoring.errors import PublicationError, ScorerError


def in_types_of(first: pa.Schema, table: pa.Table, name: str) -> pa.Table:
    """Return ``table`` in the types of ``first``, that of earlier rows of the partition ``name``.

    Raises ScorerError where a scorer has returned other columns, or other types of values.
    """
    if table.schema == first:
        return table
    if table.column_names != first.names:
        changed = ", ".join(sorted(set(table.column_names) ^ set(first.names)))
        raise _changed(name, changed or "in another order", "")
    columns = {}
    for column, kind in zip(first.names, first.types, strict=True):
        try:
            columns[column] = exact_cast(combined_column(table, column), kind)
        except TypeConflictError as error:
            remedy = (
                f". output.types in the job file says which it is, such as {{{column}: float64}}"
            )
            raise _changed(name, f"{column}: {error}", remedy) from None
    return pa.table(columns)


def _changed(name: str, what: str, remedy: str) -> ScorerError:
    return ScorerError(
        f"{name}: the scorer returned other columns or types for some rows than for the first ones "
        f"({what}){remedy}"
    )


class PublishedColumns:
    """Brings the tables of one partition into the types that readers of all partitions find."""

    def __init__(self, name: str, in_force: pa.Schema | None) -> None:
        self._name = name
        self._in_force = in_force or pa.schema({})
        self._first: pa.Schema | None = None
        self._written: pa.Schema | None = None

    @property
    def types(self) -> dict[str, str]:
        """Each column's type as readers find it, for the manifest."""
        return {field.name: str(published_type(field.type)) for field in self._written or ()}

    def cast(self, table: pa.Table) -> pa.Table:
        """Return ``table`` in those types; all tables of the partition get the same.

        Raises PublicationError where a column cannot have them, and ScorerError as ``in_types_of``.
        """
        self._first = self._first or table.schema
        table = in_types_of(self._first, table, self._name)
        if self._written is None:
            self._written = pa.schema(
                {field.name: self._written_type(field) for field in table.schema}
            )
        columns = {}
        for field in self._written:
            values = combined_column(table, field.name)
            try:
                columns[field.name] = exact_cast(values, field.type)
            except TypeConflictError as error:
                raise self._conflict(field.name, str(error)) from None
        return pa.table(columns)

    def _written_type(self, field: pa.Field) -> pa.DataType:
        """Return the Arrow type in which a column is written: its own, if readers find the right
        one.
        """
        found = published_type(field.type)
        if found is None:
            raise PublicationError(
                f"{self._name}: the column {field.name!r} is {type_name(field.type)}, which is "
                "lost when the parquet file is read back. Cast it to a number or to text"
            )
        before = (
            self._in_force.field(field.name).type if field.name in self._in_force.names else found
        )
        if before != found:
            return before
        return found if pa.types.is_null(field.type) else field.type

    def _conflict(self, column: str, conflict: str) -> PublicationError:
        before = type_name(self._in_force.field(column).type)
        return PublicationError(
            f"{self._name}: the column {column!r} is published as {before} so far, and readers of "
            f"all partitions would fail if it changed ({conflict}). Store it as {before} at the "
            "source, or say its type in output.types of the job file; if the type is to change, "
            "name a new destination.uri and score the past again"
        )
