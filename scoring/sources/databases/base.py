"""A database that answers the query of a SQL source: how it is reached, and what it has to do.

Connections are Airflow's: an operator asks Airflow for one, a shell has it in the same environment
variable that Airflow reads.  No text that this module makes holds a password.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Protocol

import pyarrow as pa

from scoring.errors import SourceError
from scoring.job.inputs import ColumnConfig
from scoring.job.partitions import Partition

POSTGRES_CONN_TYPES = ("postgres", "postgresql")
"""The types of Airflow connections that ``databases.postgres`` serves; ``dbapi`` serves all others."""

Wanted = Mapping[str, ColumnConfig | None]
"""The columns that a job reads, in its order, and what each must be where it is an input."""


class Database(Protocol):
    """What ``databases.postgres`` and ``databases.dbapi`` are."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the driver raises."""

    def describe_error(self, error: Exception) -> str:
        """Return the database's own words for an error, in one line and without a password."""

    def read(self, sql: str, values: Mapping[str, Any], wanted: Wanted) -> Iterator[pa.Table]:
        """Yield the rows of ``sql`` as tables of the ``wanted`` columns; without rows, one empty
        table.

        ``values`` are bound to the query's parameters: aware moments in UTC, and text.  Raises
        ``errors``, and SourceError for a column that is missing or of a type that is not read.
        """


@dataclass(frozen=True)
class DatabaseConnection:
    """What Airflow knows of a connection; ``schema`` is the name of the database."""

    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)  # it may hold secrets too


def values_of(partition: Partition) -> dict[str, Any]:
    """Return what is bound to the parameters of a query for ``partition``."""
    return {
        "start": partition.start.astimezone(UTC),
        "end": partition.end.astimezone(UTC),
        "partition": partition.key,
    }


def query_digest(sql: str, values: Mapping[str, Any]) -> str:
    """Return the digest of a query's text and its bound values."""
    asked = [sql, *(str(value) for value in values.values())]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def redact(secrets: list[str | None], text: str) -> str:
    """Return ``text`` with stars in the place of each secret."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


def must_be_cast(name: str, kind: str, target: str) -> SourceError:
    """Return the error for a column of a type that is not read."""
    return SourceError(
        f"the query's column {name!r} is {kind}, which is not read as it is: write "
        f"CAST({name} AS {target}) AS {name} in source.sql"
    )
