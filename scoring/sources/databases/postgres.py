"""Postgres, read as Arrow by ADBC: with bound values, and in pieces of a fixed number of rows.

A query with bound values is held in memory as a whole by the driver. A cursor on the server is not:
docs/decisions/0011-sql.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import combined_column
from scoring.arrow.text import numeric_text
from scoring.errors import SourceError
from scoring.job.inputs import ColumnConfig
from scoring.job.sql_params import render_paramstyle
from scoring.sources.databases.base import DatabaseConnection, Wanted, must_be_cast, redact
from scoring.sources.rechunk import check_columns

FETCH_ROWS = 65_536

_SESSION = (
    # The first statement of the transaction: all rows are of one moment, and nothing is written.
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SET LOCAL TIME ZONE 'UTC'",
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL cursor_tuple_fraction = 1",  # a plan for all rows, not for the first ones
)
_DEFAULTS = {
    "application_name": "batch-scoring",
    "connect_timeout": "30",  # seconds
    # A server that went away without a word is noticed after two minutes.
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
}
_FROM_EXTRA = (
    *_DEFAULTS,
    "channel_binding",
    "gssencmode",
    "keepalives",
    "krbsrvname",
    "options",
    "passfile",
    "require_auth",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslpassword",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
)
"""What of a connection's extra is handed to libpq; the rest is for Airflow's own hook."""


class Postgres:
    """The ``Database`` that a connection of type ``postgres`` leads to."""

    errors: tuple[type[Exception], ...] = (adbc_driver_manager.Error,)

    def __init__(self, connection: DatabaseConnection) -> None:
        self._connection = connection

    def describe_error(self, error: Exception) -> str:
        """See ``Database``.  The server's own message where it has sent one."""
        details = dict(getattr(error, "details", None) or [])
        primary = details.get(b"PG_DIAG_MESSAGE_PRIMARY") or details.get("PG_DIAG_MESSAGE_PRIMARY")
        text = primary.decode(errors="replace") if isinstance(primary, bytes) else str(error)
        secrets = [self._connection.password, self._connection.extra.get("sslpassword")]
        return redact(secrets, text.splitlines()[0])

    def read(self, sql: str, values: Mapping[str, Any], wanted: Wanted) -> Iterator[pa.Table]:
        """See ``Database``."""
        query, names = render_paramstyle(sql, "dollar")
        with (
            adbc_driver_postgresql.dbapi.connect(_parameters(self._connection)) as connection,
            connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.use_copy": "false"}) as cursor,
        ):
            for setting in _SESSION:
                cursor.execute(setting)
            cursor.execute(
                f"DECLARE scoring_rows NO SCROLL CURSOR FOR {query}",
                [values[n] for n in names] or None,
            )
            cursor.fetch_arrow_table()  # the driver declares the cursor when its result is read
            rows = None
            while rows is None or rows == FETCH_ROWS:
                cursor.execute(f"FETCH FORWARD {FETCH_ROWS} FROM scoring_rows")
                piece = cursor.fetch_arrow_table()
                if rows is None:
                    check_columns("the query", list(wanted), piece.column_names)
                rows = piece.num_rows
                yield pa.table(
                    {
                        n: _readable(n, piece.field(n), combined_column(piece, n), column)
                        for n, column in wanted.items()
                    }
                )


def _parameters(connection: DatabaseConnection) -> str:
    """Return the connection in libpq's own ``key='value'`` form."""
    of = connection
    extra = {key: str(of.extra[key]) for key in _FROM_EXTRA if of.extra.get(key) is not None}
    named = {
        "host": of.host,
        "port": str(of.port) if of.port else None,
        "user": of.login,
        "password": of.password,
        "dbname": of.schema,
    }
    values = _DEFAULTS | extra | {key: value for key, value in named.items() if value}
    quoted = {k: v.replace("\\", "\\\\").replace("'", "\\'") for k, v in values.items()}
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())


_AS_THEY_ARE = {
    "bool", "int2", "int4", "int8", "float4", "float8", "date", "timestamp", "timestamptz",
}  # fmt: skip
"""Types that the driver hands over as they are meant; text is read too, whatever its type is called."""

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # of the years 1 and 9999, counted from 1970
_DAY_MICROSECONDS = 86_400_000_000


def _readable(
    name: str, field: pa.Field, values: pa.Array, column: ColumnConfig | None
) -> pa.Array:
    """Return ``values`` as Arrow's own types; SourceError where they have none, or another meaning.

    By the server's name of the type, as the driver gives money as a number of cents.
    """
    stored = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    if stored == "numeric":
        if column is None or not column.is_number:
            raise must_be_cast(name, "numeric", "bigint")
        return numeric_text(values.storage)
    if not (stored in _AS_THEY_ARE or pa.types.is_string(values.type)):
        target = "numeric" if stored == "money" else "text"
        raise must_be_cast(name, f"{stored or values.type}", target)
    _check_moments(name, values)
    return values


def _check_moments(name: str, values: pa.Array) -> None:
    """Raise SourceError for infinity and for years that Python has none of; the driver overflows
    with some.
    """
    if pa.types.is_date(values.type):
        numbers, first, last = values.cast(pa.int32()), _FIRST_DAY, _LAST_DAY
    elif pa.types.is_timestamp(values.type):
        numbers = values.cast(pa.int64())
        first, last = _FIRST_DAY * _DAY_MICROSECONDS, (_LAST_DAY + 1) * _DAY_MICROSECONDS - 1
    else:
        return
    within = pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last))
    if pc.all(within).as_py() is False:
        raise SourceError(
            f"the query's column {name!r} has moments that are infinite, or outside the years 1 to "
            f"9999, which are not read: write CASE WHEN isfinite({name}) THEN {name} END AS "
            f"{name}, or CAST({name} AS text) AS {name}, in source.sql"
        )
