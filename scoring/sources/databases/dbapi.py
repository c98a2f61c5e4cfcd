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
    """Return the name of the driver's module and its style of parameters."""
    parts = type(connection).__module__.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        style = getattr(sys.modules.get(name), "paramstyle", None)
        if style is not None:
            return name, str(style)
    raise SourceError(
        f"the connection is a {parts[0]} one, which does not declare its paramstyle (PEP 249), "
        "so no query can be run"
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
    """Return ``rows`` as a table of the ``wanted`` columns; one without a value has Arrow's null
    type.
    """
    columns = {}
    for name, column in wanted.items():
        position = names.index(name)
        values = [row[position] for row in rows]
        if driver == "psycopg2" and any(map(_is_infinite, values)):
            raise must_be_cast(name, "infinite, or a moment that the driver gives for that", "text")
        columns[name] = _array(name, values, column)
    return pa.table(columns)


def _is_infinite(value: Any) -> bool:
    """Return whether psycopg2 may mean infinity: it gives the first or the last moment of Python's
    for it.
    """
    if isinstance(value, datetime):
        return value.replace(tzinfo=None) in (datetime.min, datetime.max)  # noqa: DTZ901
    return isinstance(value, date) and value in (date.min, date.max)


_KINDS: dict[type, str] = {
    bool: "truth value", int: "number", float: "number", Decimal: "number", str: "text", date: "date",
    datetime: "moment", bytes: "bytes", bytearray: "bytes", memoryview: "bytes",
}  # fmt: skip
"""What drivers' values are; a column has one kind of them, and no other types."""


def _array(name: str, values: list[Any], column: ColumnConfig | None) -> pa.Array:
    """Return ``values`` as Arrow's own type; SourceError where they have none, or several."""
    if column is not None and column.type == "boolean" and all(_is_bit(value) for value in values):
        return pa.array([None if value is None else bool(value) for value in values], pa.bool_())
    kind = _only_kind(name, values)
    if kind == "number":
        if any(isinstance(value, Decimal) for value in values) or _would_be_rounded(values):
            if column is None or not column.is_number:
                raise must_be_cast(name, "decimal", "integer")
            texts = [None if value is None else str(value) for value in values]
            return numeric_text(pa.array(texts, pa.string()))
    elif kind == "bytes":
        return pa.array([None if value is None else bytes(value) for value in values], pa.binary())
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise must_be_cast(name, f"not of one kind that Arrow knows ({error})", "text") from None
    zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
    return array.cast(pa.timestamp("us", "UTC")) if zoned else array


def _only_kind(name: str, values: list[Any]) -> str | None:
    """Return the kind that all ``values`` are of; None where there is none."""
    types = {type(value) for value in values} - {type(None)}
    for unknown in sorted(types - _KINDS.keys(), key=lambda t: t.__name__):
        raise must_be_cast(name, unknown.__name__, "text")
    kinds = {_KINDS[of] for of in types}
    if kinds == {"moment"}:
        zones = {value.utcoffset() is None for value in values if value is not None}
        kinds = {"moment with and without a zone"} if len(zones) > 1 else kinds
    if len(kinds) > 1 or "moment with and without a zone" in kinds:
        raise must_be_cast(name, f"of several kinds ({', '.join(sorted(kinds))})", "text")
    return next(iter(kinds), None)


def _would_be_rounded(values: list[Any]) -> bool:
    """Return whether no Arrow type holds all of these numbers: large integers beside floats, or
    larger ones.
    """
    integers = [value for value in values if isinstance(value, int)]
    floats = any(isinstance(value, float) for value in values)
    return (
        any(abs(n) > 2**53 for n in integers) if floats else any(abs(n) >= 2**63 for n in integers)
    )


def _is_bit(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and value in (0, 1))
