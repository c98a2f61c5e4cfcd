"""A real S3 server for tests, and what they ask of it: users with rights of their own, what is
left.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.retries import standard

from devstack.commands import session
from devstack.home import Home
from devstack.secrets import load_or_create
from devstack.services import object_store
from devstack.services.object_store import ObjectStore
from scoring.storage.base import Storage
from scoring.storage.connections import Connections
from scoring.storage.s3.client import client_config

BUCKET = "scoring"

_make_client: Callable[[], Any] | None = None


def use_client(make: Callable[[], Any] | None) -> None:
    """From now on ``connections`` reach S3 with clients that ``make`` makes, one in each process."""
    global _make_client
    _make_client = make


def connections() -> Connections:
    """Connections to the server that the test uses."""
    return Connections(s3_client=_client_in_use if _make_client else None)


def storage_for(uri: str) -> Storage:
    return connections().storage(uri)


def _client_in_use() -> Any:
    assert _make_client is not None
    return _make_client()


@contextmanager
def running(folder: Path) -> Iterator[ObjectStore]:
    home = Home(folder / "run")
    may_add_users = ("-s3.iam.readOnly=false",)
    with session.supervised(home, "the tests", print) as supervisor:
        yield object_store.start(home, load_or_create(home.secrets), supervisor, may_add_users)


def client(server: ObjectStore, **settings: Any) -> Any:
    """A boto3 client with the package's own settings, or with the ``settings`` that differ."""
    return object_store.client(server, client_config().merge(Config(**settings)))


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
