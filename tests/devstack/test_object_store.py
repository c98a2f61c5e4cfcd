"""The users of the object store: its owner, and one that may only read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from devstack.services import object_store
from devstack.services.object_store import ObjectStore
from tests.s3_server import BUCKET, keys

WRITING: dict[str, Callable[[Any], Any]] = {
    "put": lambda s3: s3.put_object(Bucket=BUCKET, Key="planted", Body=b"x"),
    "replace": lambda s3: s3.put_object(Bucket=BUCKET, Key="kept", Body=b"x"),
    "copy": lambda s3: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/kept"),
    "upload": lambda s3: s3.create_multipart_upload(Bucket=BUCKET, Key="planted"),
    "delete": lambda s3: s3.delete_object(Bucket=BUCKET, Key="kept"),
    "delete the bucket": lambda s3: s3.delete_bucket(Bucket=BUCKET),
    "make a bucket": lambda s3: s3.create_bucket(Bucket="another"),
}


def test_a_reader_finds_and_reads_what_the_owner_has_written(
    s3: Any, s3_server: ObjectStore
) -> None:
    s3.put_object(Bucket=BUCKET, Key="kept", Body=b"kept")
    reader = object_store.client(s3_server.for_readers)
    assert keys(reader) == ["kept"]
    assert reader.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"kept"


@pytest.mark.parametrize("what", WRITING)
def test_a_reader_changes_nothing(s3: Any, s3_server: ObjectStore, what: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="kept", Body=b"kept")
    with pytest.raises(ClientError, match="AccessDenied"):
        WRITING[what](object_store.client(s3_server.for_readers))
    assert keys(s3) == ["kept"]
    assert s3.get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"kept"
