"""What the library reaches by way of Airflow's connections: S3, and databases."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from scoring.errors import needs_extra

if TYPE_CHECKING:
    from scoring.job.schema import Job
    from scoring.models.mlflow.server import MlflowServer
    from scoring.sources.databases.base import Database
    from scoring.storage.connections import Connections


def aws_conn_id_of(job: Job) -> str | None:
    """Return the connection for S3: the job's, else the installation's; None for boto3's own chain."""
    return job.run.aws_conn_id or os.environ.get("SCORING_AWS_CONN_ID") or None


def connections_of(job: Job) -> Connections:
    """Return the connections that ``job`` asks for."""
    return airflow_connections(aws_conn_id_of(job), job.run.mlflow_conn_id)


def airflow_connections(aws_conn_id: str | None, mlflow_conn_id: str | None = None) -> Connections:
    """Return the library's connections as Airflow keeps them; no key passes through the job.

    ``aws_conn_id`` None means boto3's own chain of credentials, ``mlflow_conn_id`` None the
    environment variables of MLflow's own client.
    """
    from scoring.storage.connections import Connections

    client = partial(s3_client, aws_conn_id) if aws_conn_id else None
    mlflow = partial(_mlflow_server, mlflow_conn_id) if mlflow_conn_id else None
    return Connections(s3_client=client, database=_database, mlflow=mlflow)


def s3_client(aws_conn_id: str) -> Any:
    """Return a boto3 client as the Airflow connection says."""
    with needs_extra("amazon", "Airflow's connections to S3"):
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        from scoring.storage.s3.client import client_config

    hook = S3Hook(aws_conn_id=aws_conn_id)
    # As the hook itself makes one, but for the name of the caller in its User-Agent: it looks for that
    # in the source text of every frame on the stack, which takes longer than all else here.
    return hook.get_session().client(
        "s3",
        endpoint_url=hook.conn_config.get_service_endpoint_url("s3"),
        config=client_config().merge(hook.config),  # its own come first
        verify=hook.verify,
    )


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


def _mlflow_server(conn_id: str) -> MlflowServer:
    """Return the MLflow server of an Airflow connection of the type HTTP.

    A login and a password are sent as basic authentication, a password alone as a token.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowException

    from scoring.errors import ModelError
    from scoring.models.mlflow.server import MlflowServer

    try:
        found = Connection.get(conn_id)
    except (AirflowException, ImportError) as error:
        raise ModelError(f"the connection {conn_id!r} cannot be used: {error}") from None
    host, port = found.host or "", f":{found.port}" if found.port else ""
    if "://" not in host:
        secure = "https" in (found.schema, found.conn_type)
        host = f"{'https' if secure else 'http'}://{host}"
    return MlflowServer(f"{host.rstrip('/')}{port}", found.login, found.password)
