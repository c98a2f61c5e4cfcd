"""Any other database, by its driver for Python's DB-API (PEP 249), as Airflow's hooks open it.

Rows come in pieces of a fixed number; whether the driver itself holds all of them is its own affair
(docs/jobs.md says what to set for MySQL).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from scoring.arrow.text import numeric_text
from scoring.errors import SourceError
from scoring.job.inputs import ColumnConfig
from scoring.job.sql_params import render_paramstyle
from scoring.sources.databases.base import Wanted, must_be_cast, redact
from scoring.sources.rechunk import check_columns

FETCH_ROWS = 16_384


class DbApi:
    """The ``Database`` that ``connect``, such as a hook's ``get_conn``, gives a connection to."""

    errors: tuple[type[Exception], ...] = (Exception,)  # drivers have no common class of errors

    def __init__(self, connect: Callable[[], Any], secrets: Sequence[str | None] = ()) -> None:
        self._connect = connect
        self._secrets = list(secrets)

    def describe_error(self, error: Exception) -> str:
        """See ``Database``."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return redact(self._secrets, lines[0])

    def read(self, sql: str, values: Mapping[str, Any], wanted: Wanted) -> Iterator[pa.Table]:
        """See ``Database``."""
        connection = self._connect()
        try:
            cursor = connection.cursor()
            cursor.arraysize = FETCH_ROWS
            driver, style = _driver(connection)
            _execute(cursor, sql, values, driver, style)
            names = [described[0] for described in cursor.description]
            check_columns("the query", list(wanted), names)
            rows = cursor.fetchmany(FETCH_ROWS)
            yield _table(rows, names, wanted, driver)
            while rows := cursor.fetchmany(FETCH_ROWS):
                yield _table(rows, names, wanted, driver)
        finally:
            connection.close()


def _driver(connection: Any) -> tuple[str, str]:
    """The name of the driver's module and its style of parameters."""
    parts = type(connection).__module__.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        style = getattr(sys.modules.get(name), "paramstyle", None)
        if style is not None:
            return name, str(style)
    raise SourceError(
        f"the connection is a {parts[0]} one, which says nothing of its style of parameters (PEP "
        "249), so that no query can be asked; nothing was published"
    )


def _execute(cursor: Any, sql: str, values: Mapping[str, Any], driver: str, style: str) -> None:
    query, names = render_paramstyle(sql, style)
    if not names:
        cursor.execute(sql)  # without values a driver takes % for itself
        return
    if driver == "sqlite3":  # it has no moments; as text they compare as moments do
        values = {n: v.isoformat(" ") if isinstance(v, datetime) else v for n, v in values.items()}
    by_name = style in ("named", "pyformat")
    cursor.execute(query, {n: values[n] for n in names} if by_name else [values[n] for n in names])


def _table(rows: list[Any], names: list[str], wanted: Wanted, driver: str) -> pa.Table:
    """``rows`` as a table of the ``wanted`` columns; one without a value has Arrow's null type."""
    columns = {}
    for name, column in wanted.items():
        position = names.index(name)
        values = [row[position] for row in rows]
        if driver == "psycopg2" and any(map(_is_infinite, values)):
            raise must_be_cast(name, "infinite, or a moment that the driver gives for that", "text")
        columns[name] = _array(name, values, column)
    return pa.table(columns)


def _is_infinite(value: Any) -> bool:
    """Whether psycopg2 may mean infinity: it gives the first or the last moment of Python's for it."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None) in (datetime.min, datetime.max)  # noqa: DTZ901
    return isinstance(value, date) and value in (date.min, date.max)


def _array(name: str, values: list[Any], column: ColumnConfig | None) -> pa.Array:
    if any(isinstance(value, Decimal) for value in values):
        if column is None or not column.is_number:
            raise must_be_cast(name, "decimal", "integer")
        return _exact_numbers(name, values)
    if column is not None and column.is_number and _would_be_rounded(values):
        return _exact_numbers(name, values)
    if column is not None and column.type == "boolean" and all(_is_bit(value) for value in values):
        values = [None if value is None else bool(value) for value in values]
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise must_be_cast(name, f"not of one kind that Arrow knows ({error})", "text") from None
    zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
    return array.cast(pa.timestamp("us", "UTC")) if zoned else array


def _exact_numbers(name: str, values: list[Any]) -> pa.Array:
    """Numbers of several kinds, each by its own digits: one type for all would round some."""
    others = {type(v).__name__ for v in values if not isinstance(v, Decimal | int | float | None)}
    if others:
        raise must_be_cast(name, f"numbers beside {', '.join(sorted(others))}", "text")
    return numeric_text(pa.array([None if v is None else str(v) for v in values], pa.string()))


def _would_be_rounded(values: list[Any]) -> bool:
    floats = any(isinstance(value, float) for value in values)
    return floats and any(isinstance(value, int) and abs(value) > 2**53 for value in values)


def _is_bit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and value in (0, 1))
