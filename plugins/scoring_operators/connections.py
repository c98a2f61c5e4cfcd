"""What the library reaches by way of Airflow's connections: S3, and databases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoring.database import Database
    from scoring.job import Job


def aws_conn_id_of(job: Job) -> str | None:
    """The connection for S3: the job's, else the installation's; None for boto3's own chain."""
    return job.run.aws_conn_id or os.environ.get("SCORING_AWS_CONN_ID") or None


def s3_client(aws_conn_id: str) -> Any:
    """A boto3 client as the Airflow connection says."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from scoring.s3_client import client_config

    hook = S3Hook(aws_conn_id=aws_conn_id)
    return hook.get_client_type(config=client_config().merge(hook.config))  # its own come first


def use_s3(aws_conn_id: str) -> None:
    """Lets the library reach S3 as the Airflow connection says; no key passes through the job."""
    from scoring.storage import use_s3_client

    use_s3_client(lambda: s3_client(aws_conn_id))


def use_databases() -> None:
    """Lets the library ask the databases that Airflow's connections lead to."""
    from scoring import sql

    sql.use_databases(_database)


def _database(conn_id: str) -> Database:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowException

    from scoring import database
    from scoring.dbapi import DbApi
    from scoring.errors import SourceError
    from scoring.postgres import CONN_TYPES, Postgres

    try:
        found = Connection.get(conn_id)
        if found.conn_type not in CONN_TYPES:
            hook = found.get_hook()
            return DbApi(hook.get_conn, [found.password])
    except (AirflowException, ImportError) as error:
        raise SourceError(
            f"the connection {conn_id!r} cannot be used: {error}; nothing was published"
        ) from None
    return Postgres(
        database.Connection(
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
