"""A real S3 server for tests, and what they ask of it: users with rights of their own, what is left."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.retries import standard

from local import object_store, processes
from local.environment import ObjectStore
from local.home import Home
from local.secrets import load_or_create
from local.supervisor import Supervisor
from scoring.s3_client import client_config

BUCKET = "scoring"


@contextmanager
def running(folder: Path) -> Iterator[ObjectStore]:
    home = Home(folder / "run")
    home.logs.mkdir(parents=True)
    supervisor = Supervisor(processes.Record(home.processes), print)
    may_add_users = ("-s3.iam.readOnly=false",)
    try:
        yield object_store.start(home, load_or_create(home.secrets), supervisor, may_add_users)
    finally:
        supervisor.end(["object-store"], grace_seconds=5)


def client(server: ObjectStore, **settings: Any) -> Any:
    """A boto3 client with the package's own settings, or with the ``settings`` that differ."""
    config = client_config().merge(Config(s3={"addressing_style": "path"}, **settings))
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=config,
    )


def without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was refused is tried again at once, and not after a second or two."""
    scales = standard.ExponentialBackoff._DEFAULT_BACKOFF_CONFIG
    monkeypatch.setitem(scales, "throttling_base_scale", 0.001)


def keys(client: Any, prefix: str = "") -> list[str]:
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return [found["Key"] for found in listed]


def uploads(client: Any) -> list[str]:
    """The keys of the multipart uploads that are in progress."""
    listed = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return [found["Key"] for found in listed]


def empty(client: Any) -> None:
    for key in keys(client):
        client.delete_object(Bucket=BUCKET, Key=key)
    for upload in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])


def with_rights(server: ObjectStore, policy: dict[str, Any]) -> ObjectStore:
    """The server as a new user sees it, who may do what the IAM ``policy`` says and no more."""
    iam = boto3.client(
        "iam",
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    name = f"user-{secrets.token_hex(4)}"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return replace(server, access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])
