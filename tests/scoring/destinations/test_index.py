"""The index of the manifests: it saves reads, and is never the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from devstack.services.object_store import ObjectStore
from scoring.destinations.catalog import Catalog, catalog_of
from scoring.destinations.index import read_index
from scoring.destinations.layout import Layout
from scoring.pipeline.context import PartitionContext
from scoring.storage.base import write
from scoring.storage.connections import Connections
from scoring.storage.local import LocalStorage
from tests.s3_server import BUCKET, client, keys, with_rights
from tests.scoring.factories import MONTH, Place, as_nobody, in_s3, rows, run_steps

MONTHS = [f"2013-{month:02d}" for month in range(2, 8)]


def copies(read: Callable[[], bytes], write: Callable[[str, bytes], object]) -> None:
    """The manifest of the first month for all others."""
    data = json.loads(read())
    for month in MONTHS[1:]:
        write(month, json.dumps(data | {"partition": month}).encode())


@pytest.fixture
def published(place: Place) -> Place:
    run_steps(place.run())
    folder = place.out / "_manifests"
    copies(
        (folder / "month=2013-02.json").read_bytes,
        lambda month, data: (folder / f"month={month}.json").write_bytes(data),
    )
    return place


@pytest.fixture
def manifests_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the manifests that are read, by ``LocalStorage``."""
    found: list[str] = []
    read = LocalStorage.read

    def noted(self: LocalStorage, uri: str) -> bytes | None:
        if "/_manifests/" in uri:
            found.append(Path(uri).name)
        return read(self, uri)

    monkeypatch.setattr(LocalStorage, "read", noted)
    return found


def catalog(place: Place) -> Catalog:
    return catalog_of(place.run().publisher)


def index(place: Place) -> Path:
    return place.out / "_index.json"


def versions(found: Catalog) -> dict[str, str]:
    return {key: of.model_version for key, of in found.summaries.items()}


def changed(place: Place, month: str, version: str) -> None:
    path = place.out / f"_manifests/month={month}.json"
    data = json.loads(path.read_text())
    new = json.dumps(data | {"model": data["model"] | {"version": version}}).encode()
    write(LocalStorage(), str(path), new)


def test_a_manifest_is_read_once(published: Place, manifests_read: list[str]):
    first = catalog(published)
    assert sorted(first.summaries) == MONTHS
    assert len(manifests_read) == len(MONTHS)
    manifests_read.clear()
    assert catalog(published).summaries == first.summaries
    assert manifests_read == []


def test_one_that_was_replaced_is_read_again_and_no_other(
    published: Place, manifests_read: list[str]
):
    catalog(published)
    changed(published, "2013-03", "v7")
    (published.out / "_manifests/month=2013-05.json").unlink()
    manifests_read.clear()
    found = versions(catalog(published))
    assert found["2013-03"] == "v7"
    assert "2013-05" not in found
    assert manifests_read == ["month=2013-03.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 99, "entries": {}}'])
def test_an_index_that_is_none_is_made_again(published: Place, text: str):
    expected = catalog(published).summaries
    made = index(published).read_text()
    index(published).write_text(text)
    assert catalog(published).summaries == expected
    assert index(published).read_text() == made


def test_it_can_be_removed_at_any_time(published: Place):
    expected = catalog(published).summaries
    index(published).unlink()
    assert catalog(published).summaries == expected


def test_an_index_of_another_time_is_not_believed(published: Place):
    """As one is that a slower writer has written over a newer one."""
    catalog(published)
    old = index(published).read_bytes()
    changed(published, "2013-04", "v8")
    catalog(published)
    index(published).write_bytes(old)
    assert versions(catalog(published))["2013-04"] == "v8"


def test_a_manifest_that_is_replaced_while_it_is_read_is_not_kept_under_the_old_mark(
    published: Place, monkeypatch: pytest.MonkeyPatch
):
    path = str(published.out / "_manifests/month=2013-04.json")
    read = LocalStorage.read
    done: list[str] = []

    def replaced_first(self: LocalStorage, uri: str) -> bytes | None:
        if uri == path and not done:
            done.append(uri)
            before = read(self, uri)
            changed(published, "2013-04", "v9")
            return before
        return read(self, uri)

    monkeypatch.setattr(LocalStorage, "read", replaced_first)
    assert versions(catalog(published))["2013-04"] == "v9"
    kept = read_index(Layout(str(published.out)), LocalStorage(), "now")
    assert path not in kept
    assert len(kept) == len(MONTHS) - 1
    assert versions(catalog(published))["2013-04"] == "v9"


def test_nothing_is_written_where_nothing_is_published(empty: Place):
    empty.model()
    assert catalog(empty).summaries == {}
    assert not empty.out.exists()


def test_who_may_only_read_gets_the_same(open_to_all: Path):
    place = Place(open_to_all)
    place.source(rows(10))
    place.model()
    run = place.run()
    run_steps(run)

    def look() -> None:
        assert versions(catalog_of(run.publisher)) == {MONTH: "v1"}

    assert as_nobody(look) == 0
    assert not index(place).exists()


def test_writers_at_once_leave_it_right(published: Place):
    publisher = published.run().publisher

    def change_and_look(number: int) -> None:
        changed(published, MONTHS[number % len(MONTHS)], f"v{number}")
        catalog_of(publisher)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change_and_look, range(24)))
    truth = {
        month: json.loads((published.out / f"_manifests/month={month}.json").read_text())["model"][
            "version"
        ]
        for month in MONTHS
    }
    assert versions(catalog(published)) == truth


@pytest.fixture
def in_bucket(lake: Place, s3: Any) -> PartitionContext:
    """A run of the sample job whose months are all published in the bucket."""
    run = in_s3(lake)
    run_steps(run)
    name = "lake/out/_manifests/month={}.json"
    copies(
        lambda: s3.get_object(Bucket=BUCKET, Key=name.format("2013-02"))["Body"].read(),
        lambda month, data: s3.put_object(Bucket=BUCKET, Key=name.format(month), Body=data),
    )
    predictions = "lake/out/month={}/predictions.parquet"
    body = s3.get_object(Bucket=BUCKET, Key=predictions.format(MONTH))["Body"].read()
    for month in MONTHS[1:]:
        s3.put_object(Bucket=BUCKET, Key=predictions.format(month), Body=body)
    return run


def requests_of(server: ObjectStore, run: PartitionContext) -> tuple[Catalog, list[str]]:
    """The catalog, and the operations that were asked of the server for it."""
    made: list[str] = []
    ours = client(server)
    ours.meta.events.register("before-call.s3", lambda model, **_: made.append(model.name))
    publisher = PartitionContext(
        run.job_file, run.partition, run.roots, "b", Connections(lambda: ours)
    ).publisher
    return catalog_of(publisher), made


@pytest.mark.integration
def test_a_warm_look_at_a_bucket_is_one_listing_and_the_index(
    in_bucket: PartitionContext, s3_server: ObjectStore
):
    first, cold = requests_of(s3_server, in_bucket)
    assert sorted(first.summaries) == MONTHS
    assert cold.count("ListObjectsV2") == 2
    assert cold.count("GetObject") == len(MONTHS)
    second, warm = requests_of(s3_server, in_bucket)
    assert second.summaries == first.summaries
    assert warm == ["ListObjectsV2", "GetObject"]
    third, warmer = requests_of(s3_server, in_bucket)
    assert third.summaries == first.summaries
    assert warmer == ["ListObjectsV2"]  # this process has read the index


@pytest.mark.integration
def test_writers_at_once_leave_the_index_of_a_bucket_right(
    in_bucket: PartitionContext, s3_server: ObjectStore, s3: Any
):
    def replace_and_look(number: int) -> None:
        key = f"lake/out/_manifests/month={MONTHS[number % len(MONTHS)]}.json"
        data = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        data["model"]["version"] = f"v{number}"
        s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(data).encode())
        requests_of(s3_server, in_bucket)

    for first in range(0, 12, 2):
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(replace_and_look, (first, first + 1)))
    found, _ = requests_of(s3_server, in_bucket)
    assert versions(found) == {month: f"v{6 + i}" for i, month in enumerate(MONTHS)}
    _, warm = requests_of(s3_server, in_bucket)
    assert warm in (["ListObjectsV2"], ["ListObjectsV2", "GetObject"])  # no manifest


@pytest.mark.integration
def test_a_manifest_that_is_replaced_in_a_bucket_is_the_only_one_read(
    in_bucket: PartitionContext, s3_server: ObjectStore, s3: Any
):
    requests_of(s3_server, in_bucket)
    key = "lake/out/_manifests/month=2013-06.json"
    data = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    data["model"]["version"] = "v5"
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(data).encode())
    found, made = requests_of(s3_server, in_bucket)
    assert versions(found)["2013-06"] == "v5"
    assert made.count("GetObject") == 2  # the index and this manifest


@pytest.mark.integration
def test_a_user_who_may_only_read_a_bucket_gets_the_same(
    in_bucket: PartitionContext, s3_server: ObjectStore, s3: Any
):
    reader = with_rights(
        s3_server,
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": ["s3:GetObject", "s3:ListBucket"],
                    "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
                }
            ],
        },
    )
    found, _ = requests_of(reader, in_bucket)
    assert sorted(found.summaries) == MONTHS
    assert "lake/out/_index.json" not in keys(s3)
