from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from devstack.services.object_store import ObjectStore
from scoring.errors import PublicationError, SourceError
from scoring.pipeline.handover import Scored
from scoring.pipeline.publish import publish
from scoring.pipeline.staging import Staged, read_staged, staged_writer
from scoring.storage.base import Unchanged, pending, write
from scoring.storage.s3 import writer as s3_upload
from scoring.storage.s3.storage import S3Storage
from scoring.storage.s3.writer import uploads_under
from tests.faulty_proxy import Fault, FaultyProxy
from tests.s3_server import BUCKET, client, keys, storage_for, uploads, use_client, without_backoff
from tests.scoring.factories import (
    MONTH,
    Place,
    extracted,
    in_process,
    in_s3,
    layout,
    rows,
    scored,
)

LARGE = f"s3://{BUCKET}/large"
DATA = random.Random(1).randbytes(12_000_000)


@pytest.fixture(autouse=True)
def smallest_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)  # S3 takes no smaller ones


def test_parts_grow_so_that_ten_thousand_of_them_are_enough(
    s3: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(s3_upload, "_PARTS_OF_A_SIZE", 1)
    data = DATA + DATA[:10_000_000]
    storage = storage_for(LARGE)
    with pending(storage, LARGE) as new:
        for start in range(0, len(data), 3_000_000):
            new.write(data[start : start + 3_000_000])
        new.commit()
    parts = [
        s3.head_object(Bucket=BUCKET, Key="large", PartNumber=n)["ContentLength"] >> 20
        for n in (1, 2, 3)
    ]
    assert parts == [5, 10, (len(data) - (15 << 20)) >> 20]
    assert storage.sha256(LARGE) == hashlib.sha256(data).hexdigest()


def test_large_objects_go_up_in_checked_parts_and_an_abandoned_upload_leaves_nothing(s3: Any):
    storage = storage_for(LARGE)
    with pending(storage, LARGE) as new:
        new.write(DATA)
        assert uploads(s3) == ["large"]
    assert storage.read(LARGE) is None
    assert uploads(s3) == []
    with pending(storage, LARGE) as new:
        for start in range(0, len(DATA), 1_000_000):
            new.write(DATA[start : start + 1_000_000])
        new.commit()
    head = s3.head_object(Bucket=BUCKET, Key="large", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-3")
    assert storage.sha256(LARGE) == hashlib.sha256(DATA).hexdigest()


def test_a_part_that_was_damaged_on_its_way_is_refused(s3: Any):
    def damage(params: dict[str, Any], **_: Any) -> None:
        params["Body"] = b"x" + params["Body"][1:]

    s3.meta.events.register("provide-client-params.s3.UploadPart", damage)
    storage = S3Storage(s3)
    with (
        pytest.raises(PublicationError, match=r"large: .*corrupted in transit"),
        pending(storage, LARGE) as new,
    ):
        new.write(DATA)
    assert (keys(s3), uploads(s3)) == ([], [])


def test_all_uploads_are_found_however_many_pages_they_take(s3: Any):
    for number in range(5):
        s3.create_multipart_upload(Bucket=BUCKET, Key=f"tree/{number % 2}")
    s3.create_multipart_upload(Bucket=BUCKET, Key="tree-2")

    def two_a_page(params: dict[str, Any], **_: Any) -> None:
        params["MaxUploads"] = 2

    pages: list[Any] = []
    s3.meta.events.register("provide-client-params.s3.ListMultipartUploads", two_a_page)
    s3.meta.events.register("after-call.s3.ListMultipartUploads", lambda **a: pages.append(a))
    found = uploads_under(s3, f"s3://{BUCKET}/tree/")
    assert sorted(upload.key for upload in found) == ["tree/0"] * 3 + ["tree/1"] * 2
    assert len({upload.id for upload in found}) == 5
    assert len(pages) == 3


def killed(write_half: Any) -> None:
    """Calls ``write_half`` in a process that is killed at its end."""

    def write_and_die() -> None:
        write_half()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_process(write_and_die) == -signal.SIGKILL


def test_what_a_killed_writer_of_a_staged_table_left_is_aborted_by_its_retry(s3: Any):
    uri = f"s3://{BUCKET}/out/_staging/month={MONTH}/a/rows-00000.arrow"
    table = pa.table({"x": np.random.default_rng(1).random(200_000)})

    def stage(times: int) -> Staged | None:
        with staged_writer(0, uri, storage_for(uri)) as writer:
            for _ in range(times):
                writer.write(table)
            return writer.close() if times > 4 else os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(2):
        killed(lambda: stage(4))
    assert uploads(s3) == [uri.removeprefix(f"s3://{BUCKET}/")], "the second aborted the first's"
    assert keys(s3) == []
    staged = stage(5)
    assert staged is not None
    assert uploads(s3) == []
    assert sum(part.num_rows for part in read_staged(staged, storage_for(uri))) == 1_000_000


@pytest.fixture
def large(lake: Place, s3: Any) -> Place:
    """The month with so many rows that its predictions take several parts."""
    x = np.random.default_rng(1).random(900_000)
    path = lake.source(rows(900_000, x=x))
    s3.upload_file(str(path), BUCKET, f"lake/source/{MONTH}.parquet")
    return lake


def test_what_killed_publishers_left_is_aborted_by_the_next_publication(large: Place, s3: Any):
    run = in_s3(large, run={"shard_rows": 800_000})
    extraction = extracted(run)
    shards = scored(run, extraction)
    assert len(shards) == 2

    output = layout(run).output(run.partition).removeprefix(f"s3://{BUCKET}/")

    def first_then_kill() -> Iterator[Scored]:
        yield shards[0]
        (*_, own) = s3.list_multipart_uploads(Bucket=BUCKET, Prefix=output)["Uploads"]
        assert s3.list_parts(Bucket=BUCKET, Key=output, UploadId=own["UploadId"])["Parts"]
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(2):
        killed(lambda: publish(run, first_then_kill(), {}))
    assert uploads(s3) == [output, output]
    assert run.publisher.published(run.partition) is None
    manifest = publish(run, shards, {})
    assert manifest.rows.scored == 900_000
    assert uploads(s3) == []
    assert [key for key in keys(s3) if key.startswith("lake/out/")] == [
        "lake/out/_columns.arrow",
        f"lake/out/_manifests/month={MONTH}.json",
        output,
    ]


def test_a_killed_runs_uploads_under_its_staging_go_with_the_staging(lake: Place, s3: Any):
    run, other = in_s3(lake, "mine"), in_s3(lake, "mine-too")
    for each in (run, other):
        at = each.staged("predictions-12345678", 0).removeprefix(f"s3://{BUCKET}/")
        s3.create_multipart_upload(Bucket=BUCKET, Key=at)
    publish(run, scored(run, extracted(run)), {})
    assert [key.split("/")[4] for key in uploads(s3)] == ["mine-too"]


def test_an_upload_that_was_begun_before_a_publication_cannot_be_completed_after_it(
    lake: Place, s3: Any
):
    """Not even when the publication has the very bytes that it replaces, so that ETags are equal."""
    run = in_s3(lake)
    storage, output = run.storage, layout(run).output(run.partition)
    first = publish(run, scored(run, extracted(run)), {})
    with pending(storage, output, Unchanged(storage.version(output))) as late:
        late.write(b"late")
        again = publish(run, scored(run, extracted(run)), {})
        assert again.output.sha256 == first.output.sha256
        with pytest.raises(PublicationError, match="by another process in the meantime"):
            late.commit()
    assert storage.sha256(output) == first.output.sha256


@pytest.fixture
def proxy(
    s3_server: ObjectStore, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyProxy]:
    """A proxy that this process reaches S3 through, with short waits."""
    without_backoff(monkeypatch)
    with FaultyProxy(s3_server.endpoint_url) as between:
        seen = ObjectStore(between.url, s3_server.access_key, s3_server.secret_key)
        retries = {"mode": "standard", "total_max_attempts": 3}
        use_client(lambda: client(seen, read_timeout=2, connect_timeout=2, retries=retries))
        yield between


@pytest.mark.parametrize(
    "fault",
    [
        Fault(b"partNumber=2", where="request", after_bytes=1_000_000),
        Fault(b"partNumber=2", where="request", after_bytes=1_000_000, what="stall"),
        Fault(b"partNumber=3", where="answer"),
        Fault(b"partNumber=1", what="refuse", times=2),
        Fault(b"POST /scoring/large?uploadId", where="answer"),
        Fault(b"POST /scoring/large?uploads", what="refuse", times=2),
        Fault(b"POST /scoring/large?uploadId", where="request", after_bytes=10),
    ],
    ids=lambda fault: f"{fault.request.decode()}-{fault.where}-{fault.what}",
)
@pytest.mark.parametrize("conditional", [False, True])
def test_a_connection_that_fails_for_a_while_costs_a_retry(
    proxy: FaultyProxy, s3: Any, fault: Fault, conditional: bool
):
    proxy.faults = [fault]
    fault.met = 0
    storage = storage_for(LARGE)
    with pending(storage, LARGE, Unchanged(storage.version(LARGE)) if conditional else None) as new:
        new.write(DATA)
        new.commit()
    assert fault.met == fault.times
    assert S3Storage(s3).sha256(LARGE) == hashlib.sha256(DATA).hexdigest()
    assert uploads(s3) == []


@pytest.mark.parametrize("what", ["cut", "stall", "refuse"])
def test_a_connection_that_fails_on_leaves_the_old_object_and_says_what_to_do(
    proxy: FaultyProxy, s3: Any, what: Any
):
    write(S3Storage(s3), LARGE, b"old")
    fault = Fault(b"partNumber=2", what, where="request", after_bytes=1_000_000, times=100)
    proxy.faults = [fault]
    storage = storage_for(LARGE)
    with (
        pytest.raises(PublicationError) as error,
        pending(storage, LARGE, Unchanged(storage.version(LARGE))) as new,
    ):
        new.write(DATA)
    assert fault.met == 3
    assert str(error.value).startswith(f"{LARGE}: ")
    assert "try again later" in str(error.value) or "Check the endpoint" in str(error.value)
    assert S3Storage(s3).read(LARGE) == b"old"
    assert uploads(s3) == []


def test_a_server_that_is_gone_is_reported(proxy: FaultyProxy, s3: Any):
    storage = storage_for(LARGE)
    new = storage.create(LARGE, Unchanged(storage.version(LARGE)))
    new.write(DATA)
    proxy.close()
    with pytest.raises(PublicationError, match=r"large: S3 cannot be reached.*Check the endpoint"):
        new.commit()
    new.abort()  # which cannot be, and does not raise a second error
    assert keys(s3) == []


def test_a_month_through_failing_connections_is_published_whole_or_not_at_all(
    lake: Place, proxy: FaultyProxy, s3: Any
):
    run = in_s3(lake, inputs={"x": {"type": "float64", "max": 2000}})
    output = layout(run).output(run.partition)
    for request in (b"GET /", b"PUT /", b"POST /", b"HEAD /", b"DELETE /"):
        for times in (1000, 2):
            shards = scored(run, extracted(run))
            proxy.faults = [Fault(request, times=times)]
            if times == 2:
                published = publish(run, shards, {})
            else:
                with pytest.raises((PublicationError, SourceError), match="s3://scoring/lake/"):
                    publish(run, shards, {})
            assert proxy.faults[0].met >= 2, request
            proxy.faults = []
            now = run.publisher.published(run.partition)
            if now is not None:
                assert storage_for(output).sha256(output) == now.output.sha256
        assert now is not None
        assert now.output == published.output
        assert uploads(s3) == []
