"""S3 as source, staging and destination: a real S3 server, whose checks are real too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local import object_store, processes
from local.environment import ObjectStore
from local.home import Home
from local.secrets import load_or_create
from local.supervisor import Supervisor
from scoring import s3
from scoring.errors import PublicationError, SourceError, SourceMissing
from scoring.run import PartitionRun
from scoring.s3 import S3Storage
from scoring.storage import pending, storage_for, use_s3_client, write
from scoring.verify import verify_partition
from scoring.whole import score_partition
from tests.scoring.factories import MONTH, Place, extracted, linear, rows, scored, upload

BUCKET = "scoring"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    home = Home(tmp_path_factory.mktemp("s3") / "run")
    home.logs.mkdir(parents=True)
    supervisor = Supervisor(processes.Record(home.processes), print)
    try:
        yield object_store.start(home, load_or_create(home.secrets), supervisor)
    finally:
        supervisor.end(["object-store"], grace_seconds=5)


@pytest.fixture
def client(server: ObjectStore) -> Iterator[Any]:
    """A client of an empty bucket, which is this process's own from now on."""
    made = object_store.client(server)
    for found in made.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        made.delete_object(Bucket=BUCKET, Key=found["Key"])
    use_s3_client(lambda: object_store.client(server))
    yield made
    use_s3_client(None)


def keys(client: Any) -> list[str]:
    listed = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return [found["Key"] for found in listed]


@pytest.fixture
def month(client: Any, tmp_path: Path) -> Place:
    """The sample job of the factories with everything in the bucket, and the same on disk."""
    place = Place(tmp_path)
    place.source(rows(2500, note=["a", "b", "c", "d", "e"] * 500), row_group_size=700)
    place.model()
    place.model(linear(slope=3.0), "v2.skops")
    for path in place.data.rglob("*.*"):
        client.upload_file(str(path), BUCKET, f"lake/{path.relative_to(place.data)}")
    return place


def in_s3(place: Place, attempt: str = "a", **changes: Any) -> PartitionRun:
    job = place.job(**changes)
    return PartitionRun(job, job.job.parse(MONTH), job.roots(f"s3://{BUCKET}/lake"), attempt)


def test_a_month_in_s3_has_the_bytes_of_a_month_on_disk(month: Place, client: Any):
    on_disk = score_partition(month.run(), {"by": "test"}, workers=1)
    manifest = score_partition(in_s3(month), {"by": "test"}, workers=2)
    body = client.get_object(Bucket=BUCKET, Key=f"lake/out/month={MONTH}/predictions.parquet")
    published = body["Body"].read()
    assert hashlib.sha256(published).hexdigest() == on_disk.output.sha256 == manifest.output.sha256
    assert pq.read_table(pa.BufferReader(published))["y"].to_pylist()[:2] == pytest.approx([2, 4])
    assert [key for key in keys(client) if "out/" in key] == [
        f"lake/out/_manifests/month={MONTH}.json",
        f"lake/out/month={MONTH}/predictions.parquet",
    ]
    etag = client.head_object(Bucket=BUCKET, Key=f"lake/source/{MONTH}.parquet")["ETag"]
    assert manifest.source.files[0].etag == etag.strip('"')
    assert verify_partition(in_s3(month)).output.sha256 == on_disk.output.sha256


def test_quarantined_rows_lie_where_the_manifest_says(month: Place, client: Any):
    run = in_s3(month, inputs={"x": {"type": "float64", "max": 2000}})
    manifest = score_partition(run, {}, workers=1)
    assert manifest.quarantine is not None
    assert (manifest.rows.scored, manifest.rows.quarantined) == (2000, 500)
    data = storage_for(manifest.quarantine.uri).read(manifest.quarantine.uri)
    assert data is not None
    assert pq.read_table(pa.BufferReader(data))["reason"].unique().to_pylist() == ["above_max"]


def test_of_two_publishers_of_one_month_the_first_wins_and_the_other_says_so(
    month: Place, client: Any
):
    two_versions = {
        "versions": [
            {"version": v, "uri": f"{{models}}/{v}.skops", "in_force_from": f}
            for v, f in (("v1", "2013-02"), ("v2", "2013-03"))
        ]
    }
    one, other = (in_s3(month, name, model=two_versions) for name in ("one", "other"))
    of_one, of_other = extracted(one, "v1"), extracted(other, "v2")
    shards = scored(other, of_other)

    def first_publishes_meanwhile() -> Iterator[Any]:
        upload(one, scored(one, of_one), {})
        yield from shards

    with pytest.raises(PublicationError, match="was written by another process in the meantime"):
        upload(other, first_publishes_meanwhile(), {})
    now = one.destination.published(one.partition)
    assert now is not None
    assert now.model.version == "v1"
    assert storage_for(now.output.uri).sha256(now.output.uri) == now.output.sha256
    assert not [key for key in keys(client) if ".next-" in key]
    assert upload(other, shards, {}).model.version == "v2"  # its retry converges
    now = one.destination.published(one.partition)
    assert now is not None
    assert now.model.version == "v2"


def test_large_objects_go_up_in_checked_parts_and_an_abandoned_upload_leaves_nothing(
    client: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)
    uri, data = f"s3://{BUCKET}/large", bytes(range(256)) * 60_000
    storage = storage_for(uri)
    with pending(storage, uri) as new:
        new.write(data)
    assert storage.read(uri) is None
    assert not client.list_multipart_uploads(Bucket=BUCKET, Prefix="large").get("Uploads")
    with pending(storage, uri) as new:
        for start in range(0, len(data), 1_000_000):
            new.write(data[start : start + 1_000_000])
        new.commit()
    head = client.head_object(Bucket=BUCKET, Key="large", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-3")
    assert storage.sha256(uri) == hashlib.sha256(data).hexdigest()
    with storage.open(uri) as file:
        file.seek(1000)
        assert file.read(300) == data[1000:1300]


def test_a_replaced_object_is_not_replaced_again_by_whom_had_not_seen_it(client: Any):
    uri = f"s3://{BUCKET}/object"
    storage = storage_for(uri)
    with pending(storage, uri, replaces_current=True) as late:
        write(storage, uri, b"first")
        late.write(b"late")
        with pytest.raises(PublicationError, match="another process"):
            late.commit()
    assert storage.read(uri) == b"first"


def test_patterns_match_within_folders(client: Any):
    storage = storage_for(f"s3://{BUCKET}/")
    for name in ("a/1.parquet", "a/2.parquet", "a/b/3.parquet", "a/1.csv"):
        write(storage, f"s3://{BUCKET}/{name}", b"x")
    found = {
        pattern: [f.uri.removeprefix(f"s3://{BUCKET}/") for f in storage.find(pattern)]
        for pattern in (
            f"s3://{BUCKET}/a/*.parquet",
            f"s3://{BUCKET}/a/**/*.parquet",
            f"s3://{BUCKET}/a/[!1].parquet",
            f"s3://{BUCKET}/a/1.csv",
        )
    }
    assert list(found.values()) == [
        ["a/1.parquet", "a/2.parquet"],
        ["a/1.parquet", "a/2.parquet", "a/b/3.parquet"],
        ["a/2.parquet"],
        ["a/1.csv"],
    ]
    storage.remove_tree(f"s3://{BUCKET}/a")
    assert keys(client) == []


def test_a_month_that_is_not_there_names_its_uri(month: Place, client: Any):
    client.delete_object(Bucket=BUCKET, Key=f"lake/source/{MONTH}.parquet")
    with pytest.raises(SourceMissing, match=f"s3://{BUCKET}/lake/source/{MONTH}.parquet"):
        score_partition(in_s3(month), {}, workers=1)


def test_wrong_keys_and_a_wrong_bucket_are_told_plainly(server: ObjectStore, client: Any):
    import boto3

    stranger = S3Storage(
        boto3.client(
            "s3",
            endpoint_url=server.endpoint_url,
            region_name=server.region,
            aws_access_key_id="stranger",
            aws_secret_access_key="guessed",
        )
    )
    with pytest.raises(SourceError, match="access key is not known") as error:
        stranger.find(f"s3://{BUCKET}/x*")
    assert "guessed" not in str(error.value)
    with pytest.raises(PublicationError, match="there is no such bucket"):
        write(storage_for("s3://nowhere/x"), "s3://nowhere/x", b"")
