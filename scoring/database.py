"""A database that answers the query of a SQL source: how it is reached, and what it has to do.

Connections are Airflow's: an operator asks Airflow for one, a shell has it in the same environment
variable that Airflow reads.  No text that this module makes holds a password.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from scoring.errors import SourceError
from scoring.job import Column

Wanted = Mapping[str, Column | None]
"""The columns that a job reads, in its order, and what each must be where it is an input."""


class Database(Protocol):
    """What ``scoring.postgres`` and ``scoring.dbapi`` are."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the driver raises."""

    def told(self, error: Exception) -> str:
        """The database's own words for an error, in one line and without a password."""

    def read(self, sql: str, values: Mapping[str, Any], wanted: Wanted) -> Iterator[pa.Table]:
        """The rows of ``sql`` as tables of the ``wanted`` columns; without rows, one empty table.

        ``values`` are bound to the query's parameters: aware moments in UTC, and text.  Raises
        ``errors``, and SourceError for a column that is missing or of a type that is not read.
        """


@dataclass(frozen=True)
class Connection:
    """What Airflow knows of a connection; ``schema`` is the name of the database."""

    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold secrets too


def connection_in_environment(conn_id: str) -> Connection:
    """The connection in ``AIRFLOW_CONN_…``, as Airflow reads it; SourceError if there is none."""
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(variable, "")
    if not text:
        raise SourceError(
            f"the connection {conn_id!r} is not known: set {variable}, for example to "
            "postgres://USER:PASSWORD@HOST:5432/DATABASE; nothing was published"
        )
    try:
        return _from_json(conn_id, text) if text.startswith("{") else _from_uri(conn_id, text)
    except (ValueError, TypeError, AttributeError):
        # Without the error: it quotes what it cannot read.
        raise SourceError(
            f"{variable} is not a connection as Airflow writes them, neither a URI nor JSON; "
            "nothing was published"
        ) from None


def _from_json(conn_id: str, text: str) -> Connection:
    values = json.loads(text)
    extra = values.pop("extra", None) or {}
    values.pop("description", None)
    port = values.pop("port", None)
    return Connection(
        conn_id,
        **values,
        port=int(port) if port else None,
        extra=dict(json.loads(extra) if isinstance(extra, str) else extra),
    )


def _from_uri(conn_id: str, text: str) -> Connection:
    uri = urlsplit(text)
    extra: dict[str, Any] = dict(parse_qsl(uri.query, keep_blank_values=True))
    if "__extra__" in extra:
        extra = dict(json.loads(extra["__extra__"]))
    if not uri.scheme:
        raise ValueError
    return Connection(
        conn_id,
        uri.scheme,
        host=unquote(uri.hostname) if uri.hostname else None,
        port=uri.port,
        login=unquote(uri.username) if uri.username else None,
        password=unquote(uri.password) if uri.password else None,
        schema=unquote(uri.path.removeprefix("/")) or None,
        extra=extra,
    )


def without(secrets: list[str | None], text: str) -> str:
    """``text`` with stars in the place of each secret."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def must_be_cast(name: str, kind: str, target: str) -> SourceError:
    """The error for a column of a type that is not read."""
    return SourceError(
        f"the query's column {name!r} is {kind}, which is not read as it is: write "
        f"CAST({name} AS {target}) AS {name} in source.sql; nothing was published"
    )
