"""Listings are parsed here and not by botocore; what comes out is the same."""

from __future__ import annotations

from typing import Any

import pytest

from devstack.services.object_store import ObjectStore
from scoring.errors import SourceError
from scoring.storage.s3.listing import parse_listings_fast
from scoring.storage.s3.storage import S3Storage
from tests.s3_server import BUCKET, client

pytestmark = pytest.mark.integration

FIELDS = ("Key", "Size", "ETag", "LastModified")
KEYS = ("a b/ä&<>\"'.parquet", "a b/100%25+1", "a b/month=2013-05", "z")


def test_objects_are_those_that_botocore_gives(s3: Any, s3_server: ObjectStore):
    for key in KEYS:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    ours = client(s3_server)
    parse_listings_fast(ours)
    parse_listings_fast(ours)  # once is enough
    for asked in ({}, {"Prefix": "a b/"}, {"Prefix": "nothing"}, {"Delimiter": "/"}):
        expected = s3.list_objects_v2(Bucket=BUCKET, **asked)
        found = ours.list_objects_v2(Bucket=BUCKET, **asked)
        assert [{f: o[f] for f in FIELDS} for o in expected.get("Contents", [])] == found.get(
            "Contents", []
        )
        for name in ("KeyCount", "IsTruncated", "CommonPrefixes", "Prefix"):
            assert found.get(name) == expected.get(name)


def test_all_pages_are_listed(s3: Any):
    names = [f"many/{number}" for number in range(5)]
    for key in names:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    s3.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=2)
    )
    found = S3Storage(s3).listing(f"s3://{BUCKET}/man")
    assert [of.uri for of in found] == [f"s3://{BUCKET}/{name}" for name in names]


def test_an_error_is_the_servers_own(s3: Any):
    with pytest.raises(SourceError, match="there is no such bucket"):
        S3Storage(s3).listing("s3://another/")
