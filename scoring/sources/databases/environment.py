"""Airflow connections in the environment variables in which Airflow looks for them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from scoring.errors import SourceError, needs_extra
from scoring.sources.databases.base import POSTGRES_CONN_TYPES, Database, DatabaseConnection


def connection_in_environment(conn_id: str) -> DatabaseConnection:
    """Return the connection in ``AIRFLOW_CONN_…``, as Airflow reads it; SourceError if there is
    none.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(variable, "")
    if not text:
        raise SourceError(
            f"the connection {conn_id!r} is not known: set {variable}, for example to "
            "postgres://USER:PASSWORD@HOST:5432/DATABASE"
        )
    try:
        return _from_json(conn_id, text) if text.startswith("{") else _from_uri(conn_id, text)
    except (ValueError, TypeError, AttributeError):
        # Without the error: it quotes what it cannot read.
        raise SourceError(
            f"{variable} is not a connection as Airflow writes them, neither a URI nor JSON"
        ) from None


def _from_json(conn_id: str, text: str) -> DatabaseConnection:
    values = json.loads(text)
    extra = values.pop("extra", None) or {}
    values.pop("description", None)
    port = values.pop("port", None)
    return DatabaseConnection(
        conn_id,
        **values,
        port=int(port) if port else None,
        extra=dict(json.loads(extra) if isinstance(extra, str) else extra),
    )


def _from_uri(conn_id: str, text: str) -> DatabaseConnection:
    uri = urlsplit(text)
    extra: dict[str, Any] = dict(parse_qsl(uri.query, keep_blank_values=True))
    if "__extra__" in extra:
        extra = dict(json.loads(extra["__extra__"]))
    if not uri.scheme:
        raise ValueError
    return DatabaseConnection(
        conn_id,
        uri.scheme,
        host=unquote(uri.hostname) if uri.hostname else None,
        port=uri.port,
        login=unquote(uri.username) if uri.username else None,
        password=unquote(uri.password) if uri.password else None,
        schema=unquote(uri.path.removeprefix("/")) or None,
        extra=extra,
    )


def database_in_environment(conn_id: str) -> Database:
    """Return the database that the connection names; SourceError for a type that is not read."""
    connection = connection_in_environment(conn_id)
    open_database = _DATABASES.get(connection.conn_type)
    if open_database is None:
        raise SourceError(
            f"the connection {conn_id!r} is of the type {connection.conn_type!r}: from the shell "
            f"only {', '.join(_DATABASES)} are read, other databases in Airflow's tasks"
        )
    return open_database(connection)


def _postgres(connection: DatabaseConnection) -> Database:
    with needs_extra("postgres", "queries of a Postgres"):
        from scoring.sources.databases.postgres import Postgres

    return Postgres(connection)


def _sqlite(connection: DatabaseConnection) -> Database:
    from scoring.sources.databases.dbapi import DbApi

    path = _path(connection)
    if not Path(path).is_file():
        raise SourceError(f"there is no SQLite file {path}")
    return DbApi(lambda: sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True))


def _duckdb(connection: DatabaseConnection) -> Database:
    from scoring.sources.databases.duckdb import DuckDb

    return DuckDb(_path(connection))


def _path(connection: DatabaseConnection) -> str:
    """Return the file of a database that is one: ``sqlite:////folder/file.db``."""
    path = connection.host or connection.schema
    if not path:
        raise SourceError(
            f"the connection {connection.conn_id!r} names no file; write "
            f"{connection.conn_type}:////folder/file"
        )
    return path


_DATABASES: dict[str, Callable[[DatabaseConnection], Database]] = {
    **dict.fromkeys(POSTGRES_CONN_TYPES, _postgres),
    "sqlite": _sqlite,
    "duckdb": _duckdb,
}
