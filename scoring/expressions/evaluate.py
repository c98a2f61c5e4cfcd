"""The expressions of a job at work on a batch of rows."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoring.arrow.cast import ColumnCast, MixedZonesError, NotCastableError
from scoring.arrow.columns import combined_column
from scoring.errors import SourceColumnsError, SourceError, quoted
from scoring.expressions.connection import SAFE
from scoring.expressions.parse import ExpressionError, columns_of
from scoring.job.columns import same_but_for_case
from scoring.job.loader import JobFile
from scoring.job.schema import Job
from scoring.job.section import Loc, Problem

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Reasons = npt.NDArray[np.int32]
"""For each row 0, or 1 + the position in ``RowExpressions.reasons`` of why it is left out."""

_BATCH, _REASON, _ANY = "batch", "__left_out__", "__row__"
_SHOWN_CHARACTERS = 80


class ExpressionsError(ValueError):
    """What is wrong with the expressions of a job, each with its place in the job file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, loc))}: {why}" for loc, why in problems))
        self.problems = problems


class RowExpressions:
    """The derived columns of a job and its conditions to leave rows out, evaluated by DuckDB.

    One thread, no files, no network and no extensions; times are in the job's time zone. ``close``
    ends it.  Raises ExpressionsError with all that is wrong with them.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._derived = job.source.derive
        self._expressions: list[tuple[Loc, str]] = [
            *((("source", "derive", name), text) for name, text in job.source.derive.items()),
            *((("leave_out", name), text) for name, text in job.leave_out.items()),
        ]
        self._connection: DuckDBPyConnection | None = None
        self.reasons = list(job.leave_out)
        self.reads: list[str] = []
        """The source columns that the expressions read."""
        self.by_type: set[str] = set()
        self.types: dict[str, str] = {}
        """The stored types of the columns that the expressions read; of those in ``by_type``, on whose
        types the values of expressions depend, none may change."""
        if self._expressions:
            self._connection = _connect(job.timezone)
            self.reads, self.by_type, problems = _checked(self._expressions, self._connection)
            if problems:
                self._connection.close()
                raise ExpressionsError(problems)

    def close(self) -> None:
        """End DuckDB's connection."""
        if self._connection is not None:
            self._connection.close()

    def columns_to_read(self) -> list[str]:
        """Return the columns that the source has to have: those of the job, but for derived ones."""
        elsewhere = {*self._derived, *self._job.added_columns}
        given = [name for name in self._job.columns if name not in elsewhere]
        return list(dict.fromkeys([*given, *self.reads]))

    def evaluate(self, table: pa.Table, text_only: bool, origin: str) -> tuple[pa.Table, Reasons]:
        """Return the columns of ``table``, with what is derived, and which rows are left out.

        ``table`` has ``columns_to_read``, and perhaps others. Of a source that is ``text_only``,
        expressions read the inputs in the contract's types, null where a text does not fit, and all
        else as text.  Raises SourceError, which names ``origin``, where an expression fails for a
        row or a column changes its type, and ExpressionsError where one does not fit the columns.
        """
        none = np.zeros(table.num_rows, dtype=np.int32)
        if self._connection is None:
            return table, none
        read = {name: combined_column(table, name) for name in self.reads}
        if text_only:
            read = {name: self._typed(name, values) for name, values in read.items()}
        self._note_types(read, origin)
        read[_ANY] = pa.array(none)
        found = self._query(pa.table(read), origin, text_only)
        columns = {name: combined_column(table, name) for name in table.column_names}
        columns |= {name: combined_column(found, name) for name in self._derived}
        reasons = none
        if self.reasons:
            reasons = combined_column(found, _REASON).to_numpy(zero_copy_only=False)
        return pa.table(columns), reasons

    def _note_types(self, read: dict[str, pa.Array], origin: str) -> None:
        for name in self.reads:
            kind = stored_type(read[name].type)
            if kind is not None:
                first = self.types.setdefault(name, kind)
                if first != kind and name in self.by_type:
                    raise other_type(origin, name, kind, f"{first} before")

    def _typed(self, name: str, values: pa.Array) -> pa.Array:
        column = self._job.inputs.get(name)
        if column is not None and name not in self._derived:
            with suppress(NotCastableError, MixedZonesError):
                return ColumnCast(column, self._job.zone, text_only=True, exact=False)(values)[0]
        return values

    def _query(self, batch: pa.Table, origin: str, text_only: bool) -> pa.Table:
        import duckdb

        try:
            return self._answer(self._sql(), batch)
        except duckdb.Error as error:
            raise self._failure(batch, origin, text_only, error) from None

    def _answer(self, sql: str, batch: pa.Table) -> pa.Table:
        assert self._connection is not None
        self._connection.register(_BATCH, batch)
        try:
            return self._connection.execute(sql).to_arrow_table()
        finally:
            self._connection.unregister(_BATCH)

    def _sql(self, up_to: int | None = None) -> str:
        """Return the query for all expressions, or for the first ``up_to`` of them."""
        expressions = self._expressions[:up_to]
        rows, known, conditions = _BATCH, {*self.reads}, []
        for (section, *_, name), text in expressions:
            if section == "leave_out":
                conditions.append(f"WHEN (\n{text}\n) THEN {self.reasons.index(str(name)) + 1}")
                continue
            value = f"(\n{text}\n) AS {_quoted(str(name))}"
            columns = f"* REPLACE ({value})" if name in known else f"*, {value}"
            rows, known = f"(SELECT {columns} FROM {rows})", known | {str(name)}
        reason = f"CASE {' '.join(conditions)} ELSE 0 END" if conditions else "0"
        derived = [str(loc[-1]) for loc, _ in expressions if loc[0] == "source"]
        wanted = [*map(_quoted, derived), f"CAST({reason} AS INTEGER) AS {_REASON}"]
        return f"SELECT {', '.join(wanted)} FROM {rows}"

    def _failure(
        self, batch: pa.Table, origin: str, text_only: bool, error: Exception
    ) -> Exception:
        """Return what to raise for ``error``: which expression it is in, and in which row."""
        for number in range(1, len(self._expressions) + 1):
            loc, sql = self._expressions[number - 1][0], self._sql(number)
            if why := self._why_not(sql, batch.slice(0, 0)):
                if text_only and "VARCHAR" in why:
                    why += (
                        " Columns of CSV files that are not inputs are text: write "
                        "CAST(COLUMN AS DOUBLE), or another type, in place of COLUMN"
                    )
                return ExpressionsError([(loc, f"does not fit the columns of {origin}: {why}")])
            if why := self._why_not(sql, batch):
                row = self._first_failing_row(sql, batch)
                values = ", ".join(
                    f"{name}={quoted(str(row[name][0]), _SHOWN_CHARACTERS)}" for name in self.reads
                )
                return SourceError(
                    f"{origin}: {'.'.join(map(str, loc))} fails for a row with {values}: {why}. "
                    "Correct the source, or write an expression that gives null there, such as "
                    "TRY_CAST"
                )
        return error

    def _first_failing_row(self, sql: str, batch: pa.Table) -> pa.Table:
        """Return the first row of ``batch`` for which ``sql`` fails, found by halving."""
        while batch.num_rows > 1:
            half = batch.num_rows // 2
            fails = self._why_not(sql, batch.slice(0, half)) is not None
            batch = batch.slice(0, half) if fails else batch.slice(half)
        return batch

    def _why_not(self, sql: str, batch: pa.Table) -> str | None:
        """Return DuckDB's message where ``sql`` fails for ``batch``."""
        import duckdb

        try:
            self._answer(sql, batch)
        except duckdb.Error as error:
            return str(error).splitlines()[0]
        return None


def columns_to_read(job: Job) -> tuple[list[str], set[str]]:
    """Return the columns that the source of ``job`` has to have, whatever is derived from them, and
    those of them whose stored types decide what the expressions give.
    """
    with closing(RowExpressions(job)) as expressions:
        return expressions.columns_to_read(), expressions.by_type


def open_expressions(job_file: JobFile) -> RowExpressions:
    """Return the expressions of a job; JobError with line and field of each that is wrong."""
    try:
        return RowExpressions(job_file.job)
    except ExpressionsError as error:
        raise job_file.errors(error.problems) from None


def stored_type(kind: pa.DataType) -> str | None:
    """Return what a stored type is for an expression; None for a column without any value."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return None
    return "string" if pa.types.is_large_string(kind) else str(kind)


def other_type(origin: str, name: str, kind: str, other: str) -> SourceError:
    """Return the error for a column whose type would change what an expression gives."""
    return SourceColumnsError(
        f"{origin}: the column {name!r} is stored as {kind}, and as {other}. An expression of the "
        "job would give another value for it, such as the text 1.0 in place of 1. Store it in one "
        f"type, or cast it in the expression: CAST({name} AS BIGINT)"
    )


def _checked(
    expressions: list[tuple[Loc, str]], connection: DuckDBPyConnection
) -> tuple[list[str], set[str], list[Problem]]:
    """Return the source columns that ``expressions`` read, one after the other, those whose types
    matter, and what is wrong.

    An expression may read what an earlier one derives. One that derives a column of its own name
    reads that of the source, and replaces it.
    """
    reads: dict[str, Loc] = {}
    derived: dict[str, set[str]] = {}  # what each is made of
    by_type: set[str] = set()
    problems: list[Problem] = []
    for loc, text in expressions:
        try:
            found = columns_of(text, connection)
        except ExpressionError as error:
            problems.append((loc, str(error)))
            continue
        for name in found.names:
            if name not in derived:
                reads.setdefault(name, loc)
        for name in found.by_type:
            by_type |= derived.get(name, {name})
        if loc[0] == "source":
            derived[str(loc[-1])] = set().union(*(derived.get(n, {n}) for n in found.names))
    if pair := same_but_for_case([*dict.fromkeys([*reads, *derived])]):
        problems.append(
            (
                reads.get(pair[1], reads.get(pair[0], ())),
                f"{pair[0]!r} and {pair[1]!r} differ only in case, which SQL does not distinguish; "
                "rename one of them",
            )
        )
    return list(reads), by_type, problems


def _connect(timezone: str) -> DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(":memory:", config=SAFE | {"threads": "1"})
    connection.execute("SET TimeZone = ?", [timezone])
    connection.execute("SET lock_configuration = true")
    return connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
