"""The timeline of a job: its figures are those of the published rows, and no manifest is read twice."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devstack.services.object_store import ObjectStore
from scoring.job.loader import JobFile
from scoring.monitoring.timeline import Point, timeline
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.evaluate import evaluate
from scoring.storage.connections import Connections
from scoring.storage.local import LocalStorage
from tests.s3_server import BUCKET, client
from tests.scoring.factories import Place, as_nobody, in_s3, rows, run_steps

MONTHS = ["2013-02", "2013-03", "2013-04"]
ACTUALS = {"source": {"uri": "{data}/truth/{partition}.parquet"}, "column": "truth"}


def job_of(place: Place) -> JobFile:
    return place.job(actuals=ACTUALS)


def publish(place: Place, key: str, count: int, missing: int = 0) -> PartitionContext:
    """Publishes a month of ``count`` rows, x = 1, 2, …, of which the first have no x."""
    x = [None if n <= missing else float(n) for n in range(1, count + 1)]
    place.source(rows(count, x=pa.array(x, pa.float64())), f"{key}.parquet")
    run = place.run(job_of(place), key)
    run_steps(run)
    return run


def evaluated(run: PartitionContext, place: Place, error: float) -> None:
    """Evaluates a month whose true values are ``error`` below what is predicted."""
    published = pq.ParquetFile(run.publisher.published(run.partition).output.uri).read().to_pandas()
    folder = place.data / "truth"
    folder.mkdir(exist_ok=True)
    truth = pd.DataFrame({"id": published["id"], "truth": published["y"] - error})
    truth.to_parquet(folder / f"{run.partition.key}.parquet")
    evaluate(run)


def look(place: Place, run: PartitionContext | None = None) -> list[Point]:
    run = run or place.run(job_of(place))
    partitions = [run.job.parse(key) for key in MONTHS]
    return timeline(run.job, run.roots, run.connections, partitions)


@pytest.fixture
def published(place: Place) -> Place:
    """Two of three months, the first of which is evaluated."""
    place.model()
    evaluated(publish(place, "2013-02", 200, missing=10), place, error=2.0)
    publish(place, "2013-04", 50)
    return place


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the manifests and evaluations that are read."""
    found: list[str] = []
    read = LocalStorage.read

    def noted(self: LocalStorage, uri: str) -> bytes | None:
        if "/_manifests/" in uri or "/_evaluations/" in uri:
            found.append("/".join(Path(uri).parts[-2:]))
        return read(self, uri)

    monkeypatch.setattr(LocalStorage, "read", noted)
    return found


def test_the_figures_are_those_of_the_published_rows(published: Place):
    first, gap, last = look(published)
    assert first.figures is not None
    assert last.figures is not None
    values = pq.ParquetFile(published.out / "month=2013-02/predictions.parquet").read(["y"])
    of = values.to_pandas()["y"]
    found = first.figures.outputs["y"]
    assert found.bucket_width is not None
    assert found.bucket_width <= 1 / 64
    assert (found.count, found.mean) == (len(of), pytest.approx(of.mean()))
    assert (found.low, found.median, found.high) == (
        pytest.approx(of.quantile(0.05, interpolation="lower"), rel=found.bucket_width),
        pytest.approx(of.quantile(0.5, interpolation="lower"), rel=found.bucket_width),
        pytest.approx(of.quantile(0.95, interpolation="lower"), rel=found.bucket_width),
    )
    assert (first.figures.scored, first.figures.quarantined) == (190, 10)
    assert first.figures.quarantined_fraction == 0.05
    assert first.figures.quarantined_limit == 1.0
    assert first.figures.reasons == {"missing_value: x": 10}
    assert gap == Point(gap.partition)
    assert last.figures.scored == 50


def test_an_evaluation_counts_for_what_was_evaluated(published: Place):
    first, _, last = look(published)
    assert first.is_evaluated
    assert first.evaluation is not None
    assert first.evaluation.figures["rmse"] == pytest.approx(2.0)
    assert first.evaluation.with_actual == 190
    assert not last.is_evaluated
    publish(published, "2013-02", 120)
    first, _, _ = look(published)
    assert first.evaluation is not None
    assert not first.is_evaluated  # it is of what was published before


def test_a_manifest_and_an_evaluation_are_read_once(published: Place, reads: list[str]):
    before = look(published)
    assert sorted(reads) == [
        "_evaluations/month=2013-02.json",
        "_manifests/month=2013-02.json",
        "_manifests/month=2013-04.json",
    ]
    reads.clear()
    assert look(published) == before
    assert reads == []


def test_what_has_changed_is_read_again_and_nothing_else(published: Place, reads: list[str]):
    look(published)
    publish(published, "2013-04", 60)
    reads.clear()
    assert look(published)[2].figures.scored == 60  # type: ignore[union-attr]
    assert reads == ["_manifests/month=2013-04.json"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format_version": 99, "entries": {}}'])
def test_a_file_that_is_none_is_made_again(published: Place, text: str):
    expected = look(published)
    path = published.out / "_timeline.json"
    path.write_text(text)
    assert look(published) == expected
    assert set(json.loads(path.read_text())["entries"]) == {
        "_evaluations/month=2013-02.json",
        "_manifests/month=2013-02.json",
        "_manifests/month=2013-04.json",
    }


def test_an_evaluation_that_is_none_hides_nothing(published: Place):
    (published.out / "_evaluations/month=2013-02.json").write_text("{")
    first, _, _ = look(published)
    assert first.figures is not None
    assert first.evaluation is None


def test_what_another_job_has_published_is_not_shown(published: Place):
    path = published.out / "_manifests/month=2013-04.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"job": "another"}))
    assert look(published)[2].figures is None


def test_a_publication_that_was_killed_counts_where_readers_have_it(published: Place):
    look(published)
    path = published.out / "_manifests/month=2013-04.json"
    old, output = path.read_bytes(), published.out / "month=2013-04/predictions.parquet"
    publish(published, "2013-04", 70)
    new = path.read_bytes()
    digest = json.loads(new)["output"]["sha256"]
    path.write_bytes(old)
    path.with_name(f"month=2013-04.next-{digest[:16]}.json").write_bytes(new)
    assert look(published)[2].figures.scored == 70  # type: ignore[union-attr]
    output.write_bytes(b"other bytes")
    assert look(published)[2].figures.scored == 50  # type: ignore[union-attr]


def test_who_may_only_read_gets_the_same(open_to_all: Path):
    place = Place(open_to_all)
    place.model()
    run = publish(place, "2013-02", 20)

    def check() -> None:
        (first, *_) = look(place, run)
        assert first.figures is not None
        assert first.figures.scored == 20

    assert as_nobody(check) == 0
    assert not (place.out / "_timeline.json").exists()


def test_writers_at_once_leave_it_right(published: Place):
    run = published.run(job_of(published))

    def change_and_look(number: int) -> None:
        path = published.out / f"_manifests/month=2013-0{2 + 2 * (number % 2)}.json"
        data = json.loads(path.read_text())
        data["rows"]["left_out"] = number
        path.with_suffix(f".{number}").write_text(json.dumps(data))
        path.with_suffix(f".{number}").replace(path)
        look(published, run)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change_and_look, range(20)))
    for key, point in zip(MONTHS, look(published), strict=True):
        if point.figures:
            path = published.out / f"_manifests/month={key}.json"
            assert point.figures.left_out == json.loads(path.read_text())["rows"]["left_out"]


@pytest.mark.integration
def test_a_hundred_partitions_in_a_bucket_are_two_listings_and_one_read(
    lake: Place, s3: Any, s3_server: ObjectStore
):
    run = in_s3(lake)
    run_steps(run)
    name, partitions = "lake/out/_manifests/month={}.json", [run.partition]
    data = json.loads(s3.get_object(Bucket=BUCKET, Key=name.format("2013-02"))["Body"].read())
    for _ in range(99):
        partitions.append(partitions[-1].next())
        body = json.dumps(data | {"partition": partitions[-1].key}).encode()
        s3.put_object(Bucket=BUCKET, Key=name.format(partitions[-1].key), Body=body)
    made: list[str] = []
    ours = client(s3_server)
    ours.meta.events.register("before-call.s3", lambda model, **_: made.append(model.name))

    def look() -> list[Point]:
        made.clear()
        return timeline(run.job, run.roots, Connections(lambda: ours), partitions)

    first = look()
    assert [one.figures.partition for one in first if one.figures] == [p.key for p in partitions]
    assert (made.count("ListObjectsV2"), made.count("GetObject")) == (4, 101)
    assert look() == first
    assert sorted(made) == ["GetObject", "ListObjectsV2", "ListObjectsV2"]
