"""How the jobs of a service reach their files: each with the connection that it names itself."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from scoring.errors import SourceError, needs_extra
from scoring.job.schema import Job
from scoring.sources.databases.environment import connection_in_environment
from scoring.storage.connections import Connections


def connections_of(job: Job) -> Connections:
    """Return the connections of ``job``: for S3 that of ``run.aws_conn_id``, or of
    ``$SCORING_AWS_CONN_ID``, where the environment has it as Airflow writes it; else boto3's own
    chain of credentials.
    """
    conn_id = job.run.aws_conn_id or os.environ.get("SCORING_AWS_CONN_ID")
    if not conn_id or f"AIRFLOW_CONN_{conn_id.upper()}" not in os.environ:
        return Connections()
    return Connections(s3_client=partial(_s3_client, conn_id))


def _s3_client(conn_id: str) -> Any:
    """Return a client for the Airflow connection: key and secret as login and password."""
    found = connection_in_environment(conn_id)
    if found.conn_type not in ("aws", "s3"):
        raise SourceError(f"the connection {conn_id!r} is of the type {found.conn_type!r}, not aws")
    with needs_extra("s3", "files in S3"):
        import boto3
        from botocore.config import Config

        from scoring.storage.s3.client import client_config
    return boto3.client(
        "s3",
        aws_access_key_id=found.login or None,
        aws_secret_access_key=found.password or None,
        aws_session_token=found.extra.get("aws_session_token"),
        region_name=found.extra.get("region_name"),
        endpoint_url=found.extra.get("endpoint_url"),
        config=client_config().merge(Config(**found.extra.get("config_kwargs", {}))),
    )
