from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from devstack.services.object_store import ObjectStore
from scoring.errors import SourceError
from scoring.sources.base import open_source
from scoring.storage.s3.reader import ObjectReader
from tests.faulty_proxy import Counts, Fault, FaultyProxy
from tests.s3_server import BUCKET, client, use_client, without_backoff
from tests.scoring.factories import MONTH, Place, in_s3

URI = f"s3://{BUCKET}/object"
DATA = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def proxy(
    s3_server: ObjectStore, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyProxy]:
    without_backoff(monkeypatch)
    with FaultyProxy(s3_server.endpoint_url) as between:
        yield between


@pytest.fixture
def answer_seconds() -> float:
    """How long the client waits for an answer: long, except where a test says that none comes."""
    return 60


@pytest.fixture
def through(proxy: FaultyProxy, s3_server: ObjectStore, answer_seconds: float) -> Any:
    """A client that reaches the server through the proxy, and tries twice."""
    seen = ObjectStore(proxy.url, s3_server.access_key, s3_server.secret_key)
    retries = {"mode": "standard", "total_max_attempts": 2}
    return client(seen, read_timeout=answer_seconds, retries=retries)


@pytest.fixture
def reader(s3: Any, through: Any) -> ObjectReader:
    s3.put_object(Bucket=BUCKET, Key="object", Body=DATA)
    return ObjectReader(through, URI)


def test_it_is_a_file(reader: ObjectReader):
    assert (reader.readable(), reader.seekable(), reader.size()) == (True, True, len(DATA))
    assert reader.read(10) == DATA[:10]
    assert reader.seek(5, io.SEEK_CUR) == reader.tell() == 15
    assert reader.seek(-8, io.SEEK_END) == len(DATA) - 8
    assert reader.read() == DATA[-8:]
    assert reader.read(1) == b""
    reader.seek(1000)
    assert io.BufferedReader(reader).read(70_000) == DATA[1000:71_000]


def test_what_is_not_there_is_not_found(s3: Any):
    with pytest.raises(FileNotFoundError, match="s3://scoring/nothing"):
        ObjectReader(s3, f"s3://{BUCKET}/nothing")


def test_only_the_columns_that_are_needed_are_fetched(
    lake: Place, s3: Any, proxy: FaultyProxy, through: Any
):
    rows, groups = 100_000, 5
    noise = np.random.default_rng(1)
    columns = {f"c{n:02d}": noise.random(rows) for n in range(18)}
    table = pa.table({"id": range(1, rows + 1), **columns, "x": noise.random(rows)})
    path = lake.source(table, row_group_size=rows // groups)
    s3.upload_file(str(path), BUCKET, f"lake/source/{MONTH}.parquet")
    use_client(lambda: through)
    run = in_s3(lake)
    proxy.counts = Counts()
    source = open_source(run.job, run.partition, run.roots, run.connections)
    batches = source.batches(iter([rows]))
    read = next(batches)
    assert read.column_names == ["id", "x"]
    assert read["x"].to_pylist() == table["x"].to_pylist()
    share = proxy.counts.answered_bytes / path.stat().st_size
    print(f"2 of 20 columns: {share:.1%} of the bytes, {len(proxy.counts.requests)} requests")
    assert share < 0.15
    assert len(proxy.counts.requests) <= 2 * groups + 5


def test_a_row_group_is_fetched_when_its_rows_are_wanted(
    lake: Place, s3: Any, proxy: FaultyProxy, through: Any
):
    rows, groups = 500_000, 5
    table = pa.table({"id": range(rows), "x": np.random.default_rng(1).random(rows)})
    path = lake.source(table, row_group_size=rows // groups)
    s3.upload_file(str(path), BUCKET, f"lake/source/{MONTH}.parquet")
    use_client(lambda: through)
    run = in_s3(lake)
    source = open_source(run.job, run.partition, run.roots, run.connections)
    batches = source.batches(iter([rows // groups] * (groups + 1)))
    proxy.counts = Counts()
    assert next(batches)["x"].to_pylist() == table["x"][: rows // groups].to_pylist()
    assert proxy.counts.answered_bytes < 1.5 * path.stat().st_size / groups
    assert sum(batch.num_rows for batch in batches) == rows - rows // groups


def test_a_read_that_is_cut_again_and_again_is_taken_up_where_it_was(
    reader: ObjectReader, proxy: FaultyProxy
):
    fault = Fault(b"GET /", after_bytes=800_000, times=3)
    proxy.faults, proxy.counts = [fault], Counts()
    assert reader.read() == DATA
    assert fault.met == 3
    assert proxy.counts.answered_bytes < 1.5 * len(DATA), "not from the start each time"


@pytest.mark.parametrize(("what", "answer_seconds"), [("cut", 60), ("stall", 1)])
def test_a_read_that_is_always_broken_off_ends_and_says_where(
    reader: ObjectReader, proxy: FaultyProxy, what: Any
):
    fault = Fault(b"GET /", what, after_bytes=2000, times=1000)
    proxy.faults = [fault]
    with pytest.raises(SourceError) as error:
        reader.read()
    assert fault.met == 5
    assert f"{URI} was cut off at byte " in str(error.value)
    assert f"of {len(DATA):,}" in str(error.value)


@pytest.mark.parametrize("answer_seconds", [1])
def test_slow_answers_are_waited_for(reader: ObjectReader, proxy: FaultyProxy):
    proxy.pause_seconds = 0.03  # 1.4 s in all, more than the wait for a single answer
    assert reader.read() == DATA


@pytest.mark.parametrize("what", ["cut", "refuse"])
def test_a_server_that_does_not_answer_is_reported_after_a_few_tries(
    reader: ObjectReader, proxy: FaultyProxy, what: Any
):
    fault = Fault(b"GET /", what, times=1000)
    proxy.faults = [fault]
    with pytest.raises(SourceError, match=f"{URI}: .*(try again later|Check the endpoint)"):
        reader.read()
    assert fault.met == 2


def test_a_server_that_is_gone_is_reported(reader: ObjectReader, proxy: FaultyProxy):
    proxy.close()
    with pytest.raises(SourceError, match=f"{URI}: S3 cannot be reached.*Check the endpoint"):
        reader.read()


@pytest.mark.parametrize("removed", [False, True])
def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(
    reader: ObjectReader, s3: Any, removed: bool
):
    assert reader.read(100) == DATA[:100]
    if removed:
        s3.delete_object(Bucket=BUCKET, Key="object")
    else:
        s3.put_object(Bucket=BUCKET, Key="object", Body=DATA[::-1])
    with pytest.raises(SourceError, match=f"{URI} was replaced or removed while it was read"):
        reader.read(100)
