"""What the library reaches by way of Airflow's connections: S3, and databases."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from scoring.errors import needs_extra

if TYPE_CHECKING:
    from scoring.job.schema import Job
    from scoring.sources.databases.base import Database
    from scoring.storage.connections import Connections


def aws_conn_id_of(job: Job) -> str | None:
    """Return the connection for S3: the job's, else the installation's; None for boto3's own chain."""
    return job.run.aws_conn_id or os.environ.get("SCORING_AWS_CONN_ID") or None


def airflow_connections(aws_conn_id: str | None) -> Connections:
    """Return the library's connections as Airflow keeps them; no key passes through the job.

    ``aws_conn_id`` None means boto3's own chain of credentials.
    """
    from scoring.storage.connections import Connections

    client = partial(s3_client, aws_conn_id) if aws_conn_id else None
    return Connections(s3_client=client, database=_database)


def s3_client(aws_conn_id: str) -> Any:
    """Return a boto3 client as the Airflow connection says."""
    with needs_extra("amazon", "Airflow's connections to S3"):
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from scoring.storage.s3.client import client_config

    hook = S3Hook(aws_conn_id=aws_conn_id)
    return hook.get_client_type(config=client_config().merge(hook.config))  # its own come first


def _database(conn_id: str) -> Database:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowException

    from scoring.errors import SourceError
    from scoring.sources.databases.base import POSTGRES_CONN_TYPES, DatabaseConnection
    from scoring.sources.databases.dbapi import DbApi

    try:
        found = Connection.get(conn_id)
        if found.conn_type not in POSTGRES_CONN_TYPES:
            hook = found.get_hook()
            return DbApi(hook.get_conn, [found.password])
    except (AirflowException, ImportError) as error:
        raise SourceError(f"the connection {conn_id!r} cannot be used: {error}") from None
    with needs_extra("postgres", "queries of a Postgres"):
        from scoring.sources.databases.postgres import Postgres

    return Postgres(
        DatabaseConnection(
            conn_id,
            found.conn_type,
            found.host,
            found.port,
            found.login,
            found.password,
            found.schema,
            found.extra_dejson,
        )
    )
