"""Postgres, read as Arrow by ADBC: with render_paramstyle values, and in pieces of a fixed number of rows.

A query with render_paramstyle values is held in memory as a whole by the driver.  A cursor on the server is not:
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
from scoring.job.inputs import ColumnConfig
from scoring.job.sql_params import render_paramstyle
from scoring.sources.databases.base import DatabaseConnection, Wanted, must_be_cast, redact
from scoring.sources.rechunk import check_columns

CONN_TYPES = ("postgres", "postgresql")
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
    # A server that went away redact a word is noticed after two minutes.
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
                        n: _readable(n, combined_column(piece, n), column)
                        for n, column in wanted.items()
                    }
                )


def _parameters(connection: DatabaseConnection) -> str:
    """The connection in libpq's own ``key='value'`` form."""
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


def _readable(name: str, values: pa.Array, column: ColumnConfig | None) -> pa.Array:
    """``values`` as Arrow's own types; SourceError where they have none."""
    kind = values.type
    if isinstance(kind, pa.OpaqueType) and kind.type_name == "numeric":
        if column is None or not column.is_number:
            raise must_be_cast(name, "numeric", "bigint")
        return _numbers(name, values.storage, column)
    plain = (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_null(kind)
    )
    if not plain:
        raise must_be_cast(name, getattr(kind, "type_name", str(kind)), "text")
    return values


def _numbers(name: str, text: pa.Array, column: ColumnConfig) -> pa.Array:
    """``numeric``, which comes as text, as the nearest doubles or as exact integers.

    Where an integer is wanted and some value is none, all of the piece are doubles, so that the
    contract can judge each of them.
    """
    if column.type.startswith("int"):
        whole = pc.match_substring_regex(text, r"^-?\d+(\.0*)?$")
        if pc.all(whole.fill_null(True)).as_py() is not False:
            try:
                return pc.replace_substring_regex(text, r"\.0*$", "").cast(pa.int64())
            except pa.ArrowInvalid:  # more than 64 bits
                pass
        large = pc.and_(whole, pc.greater(pc.abs(text.cast(pa.float64())), 2.0**53))
        if pc.any(large.fill_null(False)).as_py():
            kind = "numeric, with whole numbers above 2^53 beside others"
            raise must_be_cast(name, kind, "bigint")
    return text.cast(pa.float64())
