"""Model versions side by side: their figures are those of all of their published rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.job.loader import JobFile
from scoring.monitoring.timeline import Point, timeline
from scoring.monitoring.versions import by_version, in_force, job_files
from scoring.pipeline.evaluate import evaluate
from tests.scoring.factories import Place, linear, rows, run_steps

MONTHS = ["2013-02", "2013-03", "2013-04"]
VERSIONS = [
    {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
    {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-04"},
]
ACTUALS = {"source": {"uri": "{data}/truth/{partition}.parquet"}, "column": "truth"}


def job_of(place: Place, **changes: object) -> JobFile:
    return place.job(**{"model": {"versions": VERSIONS}, "actuals": ACTUALS} | changes)


def published_rows(place: Place, key: str) -> pd.DataFrame:
    found = pq.ParquetFile(place.out / f"month={key}/predictions.parquet").read()
    return found.to_pandas()


def truth_of(place: Place, key: str) -> pd.DataFrame:
    """True values that differ from the predictions by noise, of another strength in each month."""
    frame = published_rows(place, key)
    noise = np.random.default_rng(int(key[-2:])).normal(0, int(key[-2:]), len(frame))
    return pd.DataFrame({"id": frame["id"], "truth": frame["y"] + noise})


def points(place: Place) -> list[Point]:
    run = place.run(job_of(place))
    return timeline(run.job, run.roots, run.connections, [run.job.parse(key) for key in MONTHS])


@pytest.fixture
def published(place: Place) -> Place:
    """Two months by v1 and one by v2, all of them evaluated."""
    place.model(linear(3.0), "v2.skops")
    (place.data / "truth").mkdir()
    for key, count in zip(MONTHS, (300, 100, 50), strict=True):
        x = [None, *(float(n) for n in range(count - 1))]
        place.source(rows(count, x=pa.array(x, pa.float64())), f"{key}.parquet")
        run = place.run(job_of(place), key)
        run_steps(run)
        truth_of(place, key).to_parquet(place.data / f"truth/{key}.parquet")
        evaluate(run)
    return place


def test_figures_over_months_are_those_of_all_of_their_rows(published: Place):
    found = by_version(points(published), "y")
    assert list(found) == ["v1", "v2"]
    v1 = found["v1"]
    every = pd.concat(
        published_rows(published, key).merge(truth_of(published, key), on="id")
        for key in ("2013-02", "2013-03")
    )
    error = every["y"] - every["truth"]
    assert [point.key for point in v1.points] == ["2013-02", "2013-03"]
    assert (v1.rows, v1.evaluated, v1.with_actual) == (398, 2, 398)
    assert v1.mean == pytest.approx(every["y"].mean())
    assert v1.quarantined_fraction == 2 / 400
    assert v1.errors == {
        "rmse": pytest.approx((error**2).mean() ** 0.5),
        "mae": pytest.approx(error.abs().mean()),
        "bias": pytest.approx(error.mean()),
    }
    medians = [
        published_rows(published, key)["y"].quantile(0.5, interpolation="lower")
        for key in ("2013-02", "2013-03")
    ]
    assert v1.medians == pytest.approx((min(medians), max(medians)), rel=1 / 64)


def test_an_evaluation_of_what_was_published_before_does_not_count(published: Place):
    published.source(rows(20), "2013-03.parquet")
    run_steps(published.run(job_of(published), "2013-03"))
    v1 = by_version(points(published), "y")["v1"]
    assert (v1.rows, v1.evaluated, v1.with_actual) == (299 + 20, 1, 299)


def test_by_the_policy_as_of_a_version_is_in_force_until_the_next_one(place: Place):
    job = job_of(place).job
    first, second = in_force(job, "v1"), in_force(job, "v2")
    assert first.first is not None
    assert first.last is not None
    assert (first.first.key, first.last.key) == ("2013-02", "2013-03")
    assert second.first is not None
    assert (second.first.key, second.last) == ("2013-04", None)


def test_by_the_policy_current_the_newest_version_is_in_force_throughout(place: Place):
    job = job_of(place, model={"policy": "current", "versions": VERSIONS}).job
    assert in_force(job, "v1").first is None
    second = in_force(job, "v2")
    assert second.first is not None
    assert (second.first.key, second.last) == ("2013-02", None)


def test_which_job_file_made_which_partitions(published: Place):
    job = job_of(published, description="Another file.")
    run_steps(published.run(job, "2013-04"))
    old, new = job_files(points(published))
    assert [stretch.keys for stretch in old.partitions] == ["2013-02..2013-03"]
    assert (old.count, old.versions, old.first.key) == (2, ("v1",), "2013-02")
    assert (new.sha256, [s.keys for s in new.partitions], new.versions) == (
        job.sha256,
        ["2013-04"],
        ("v2",),
    )
