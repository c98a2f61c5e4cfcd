from __future__ import annotations

from dataclasses import replace
from typing import Any

import boto3
import pytest

from devstack.services.object_store import ObjectStore
from scoring.errors import PublicationError, SourceError
from scoring.storage.base import write
from scoring.storage.s3.client import default_client
from scoring.storage.s3.storage import S3Storage
from tests.s3_server import BUCKET, client, keys, storage_for, use_client


@pytest.mark.parametrize(
    ("change", "meaning"),
    [
        ({"access_key": "stranger"}, "the access key is not known to the server"),
        ({"secret_key": "guessed-by-a-stranger"}, "the secret key is wrong"),
    ],
)
def test_wrong_keys_are_reported_plainly_and_not_repeated(
    s3_server: ObjectStore, s3: Any, change: dict[str, str], meaning: str
):
    stranger = S3Storage(client(replace(s3_server, **change)))
    with pytest.raises(SourceError, match=f"s3://{BUCKET}/x.*{meaning}") as error:
        stranger.find(f"s3://{BUCKET}/x*")
    assert s3_server.secret_key not in str(error.value)
    assert "guessed-by-a-stranger" not in str(error.value)
    with pytest.raises(PublicationError, match=meaning):
        write(stranger, f"s3://{BUCKET}/x", b"")
    assert keys(s3) == []


def test_a_bucket_that_does_not_exist_is_reported(s3: Any):
    with pytest.raises(PublicationError, match="s3://nowhere/x: there is no such bucket"):
        write(storage_for("s3://nowhere/x"), "s3://nowhere/x", b"")
    with pytest.raises(SourceError, match="there is no such bucket"):
        storage_for("s3://nowhere/x").find("s3://nowhere/x*")


def test_without_a_connection_boto3_finds_keys_and_endpoint_by_itself(
    s3_server: ObjectStore, s3: Any, monkeypatch: pytest.MonkeyPatch
):
    for name, value in s3_server.shell_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    use_client(None)
    uri = f"s3://{BUCKET}/x"
    write(storage_for(uri), uri, b"found")
    assert s3.get_object(Bucket=BUCKET, Key="x")["Body"].read() == b"found"


def test_waits_and_tries_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config = default_client().meta.config
    assert (config.connect_timeout, config.read_timeout) == (10, 60)
    assert config.retries == {"mode": "standard", "total_max_attempts": 5}


def test_without_any_keys_that_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(PublicationError, match="Unable to locate credentials"):
        write(S3Storage(default_client()), "s3://nowhere/x", b"")
