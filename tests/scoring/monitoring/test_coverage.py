"""The state of each partition, and why one is stale: each reason is brought about."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scoring.destinations.attempts import LOCK
from scoring.destinations.manifest import Manifest
from scoring.job.loader import JobFile
from scoring.monitoring.coverage import Covered, coverage, finished_partitions
from tests.s3_server import BUCKET, connections
from tests.scoring.factories import JOB, MONTH, Place, in_s3, linear, rows, run_steps

VERSIONS: list[dict[str, Any]] = [
    *JOB["model"]["versions"],
    {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-04"},
]


def covered(place: Place, job: JobFile | None = None, **options: Any) -> dict[str, Covered]:
    """The partitions of 2013 up to April, by their keys."""
    job = job or place.job(end="2013-04")
    partitions = finished_partitions(job.job, datetime(2014, 1, 1, tzinfo=UTC))
    found = coverage(job, job.roots(str(place.data)), connections(), partitions, **options)
    return {of.partition.key: of for of in found}


def month(place: Place, job: JobFile | None = None, **options: Any) -> Covered:
    return covered(place, job, **options)[MONTH]


def reasons(found: Covered) -> list[str]:
    return [reason.code for reason in found.reasons]


def rewritten(place: Place, **changes: Any) -> None:
    """The manifest of the month with ``changes``, as another release may have written it."""
    path = place.out / "_manifests/month=2013-02.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def published(place: Place) -> Place:
    """A folder in which the first month is published."""
    run_steps(place.run(place.job(end="2013-04")))
    return place


def test_only_partitions_that_have_ended_count(place: Place):
    job = place.job(timezone="America/New_York").job
    end_of_march = datetime(2013, 4, 1, 4, tzinfo=UTC)
    assert [p.key for p in finished_partitions(job, end_of_march)] == ["2013-02", "2013-03"]
    before = datetime(2013, 4, 1, 3, 59, tzinfo=UTC)
    assert [p.key for p in finished_partitions(job, before)] == ["2013-02"]
    assert finished_partitions(job, datetime(2013, 2, 1, tzinfo=UTC)) == []


def test_what_is_published_and_what_is_missing(published: Place):
    found = covered(published)
    assert {key: of.state for key, of in found.items()} == {
        "2013-02": "published",
        "2013-03": "missing",
        "2013-04": "missing",
    }
    assert found[MONTH].model_version == "v1"
    assert (found[MONTH].reasons, found[MONTH].unchecked) == ((), ())


def test_a_newer_version_is_in_force(published: Place):
    published.model(linear(3.0), "v2.skops")
    later = published.job(end="2013-04", model={"versions": VERSIONS})
    assert month(published, later).state == "published"  # v2 is in force from April
    earlier = [VERSIONS[0] | {"in_force_from": "2013-01"}, VERSIONS[1] | {"in_force_from": MONTH}]
    found = month(published, published.job(end="2013-04", model={"versions": earlier}))
    assert (found.state, reasons(found)) == ("stale", ["model"])
    assert found.reasons[0].detail == "v2 is in force, v1 scored it"
    current = published.job(end="2013-04", model={"policy": "current", "versions": VERSIONS})
    assert reasons(month(published, current)) == ["model"]


def test_another_file_is_pinned_as_the_same_version(published: Place):
    digest = published.model(linear(3.0))
    pinned = [VERSIONS[0] | {"sha256": digest}]
    found = month(published, published.job(end="2013-04", model={"versions": pinned}))
    assert reasons(found) == ["model"]
    assert "another file as v1" in found.reasons[0].detail


def test_no_version_is_in_force_any_more(published: Place):
    later = [VERSIONS[0] | {"in_force_from": "2013-03"}]
    found = month(published, published.job(end="2013-04", model={"versions": later}))
    assert (found.state, found.unchecked) == (
        "published",
        ("no model version is in force by the job's policy",),
    )


def test_the_source_has_another_size(published: Place):
    published.source(rows(11))
    found = month(published)
    assert (found.state, reasons(found)) == ("stale", ["source"])
    assert "bytes, it had" in found.reasons[0].detail


def test_the_source_has_other_bytes_of_the_same_size(published: Place):
    source = published.data / f"source/{MONTH}.parquet"
    data = bytearray(source.read_bytes())
    data[100] ^= 1
    before = source.stat()
    source.write_bytes(data)
    assert reasons(month(published)) == ["source"]
    # With the old time of change only its bytes show it.
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert month(published).state == "published"
    assert reasons(month(published, digests=True)) == ["source"]


def test_a_copy_of_the_same_bytes_is_not_another_source(published: Place):
    source = published.data / f"source/{MONTH}.parquet"
    os.utime(source, (1, 1))
    assert month(published).state == "published"


def test_a_source_that_is_gone_cannot_be_compared(published: Place):
    (published.data / f"source/{MONTH}.parquet").unlink()
    found = month(published)
    assert (found.state, found.unchecked) == ("published", ("the source is no longer there",))


def test_files_are_added_to_the_source_and_renamed(place: Place):
    source = {"uri": "{data}/source/{partition}*.parquet"}
    run_steps(place.run(place.job(end="2013-04", source=source)))
    job = place.job(end="2013-04", source=source)
    assert month(place, job).state == "published"
    added = place.source(rows(1), f"{MONTH}-b.parquet")
    assert month(place, job).reasons[0].detail == "the source has 2 files, it had 1 file"
    added.unlink()
    folder = place.data / "source"
    (folder / f"{MONTH}.parquet").rename(folder / f"{MONTH}-c.parquet")
    assert reasons(month(place, job)) == ["source"]


@pytest.mark.parametrize(
    "change",
    [
        {"output": {"prediction": "z"}},
        {"inputs": {"x": {"type": "float64", "min": -1}}},
        {"leave_out": {"small": "x < 0"}},
        {"source": {"date_column": "at"}},
        {"model": {"input": "array"}},
    ],
)
def test_the_job_means_something_else(published: Place, change: dict[str, Any]):
    found = month(published, published.job(end="2013-04", **change))
    assert (found.state, reasons(found)) == ("stale", ["job"])


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Another one.", "owner": "somebody", "tags": ["a"]},
        {"run": {"retries": 5, "shard_rows": 2000}, "schedule": "0 4 3 * *"},
        {"checks": {"min_rows": 5}},
        {"source": {"wait": {"timeout_hours": 3.0}}},
        {"model": {"policy": "as_of"}},  # the default, written out
    ],
)
def test_the_job_file_has_changed_and_not_what_it_means(published: Place, change: dict[str, Any]):
    assert month(published, published.job(end="2013-04", **change)).state == "published"


def test_comments_do_not_count(published: Place):
    job = published.job(end="2013-04")
    assert month(published, replace(job, sha256="of a file with comments")).state == "published"


def test_a_manifest_without_the_meaning_of_its_job(published: Place):
    rewritten(published, job_meaning_sha256=None)
    assert month(published).unchecked == ()  # the very same file
    found = month(published, published.job(end="2013-04", description="Another one."))
    assert found.state == "published"
    assert "did not record what it meant" in found.unchecked[0]


def test_the_scorer_has_changed(place: Place):
    code = "def run(df, model):\n    return df.assign(y=model.predict(df))[['y']]\n"
    job = place.job(end="2013-04", scorer=place.scorer(code))
    run_steps(place.run(job))
    assert month(place, job).state == "published"
    place.scorer(code + "# faster\n")
    found = month(place, job)
    assert [(r.code, r.detail) for r in found.reasons] == [("job", "the scorer has changed")]


def test_the_major_version_of_the_code_has_changed(published: Place):
    rewritten(published, code_version="0.0.9+abc")
    assert month(published).state == "published"
    rewritten(published, code_version="7.0.0+abc")
    found = month(published)
    assert reasons(found) == ["code"]
    assert found.reasons[0].detail.startswith("batch-scoring 7.0.0 scored it")


def test_the_published_file_is_not_what_the_manifest_says(published: Place):
    output = published.out / f"month={MONTH}/predictions.parquet"
    data = output.read_bytes()
    output.write_bytes(data[:-1])
    assert reasons(month(published)) == ["output"]
    output.write_bytes(data[:-1] + b"x")
    assert month(published).state == "published"
    assert reasons(month(published, digests=True)) == ["output"]
    output.unlink()
    assert month(published).reasons[0].detail == "the published file is gone"


def test_several_reasons_are_all_given(published: Place):
    published.source(rows(11))
    rewritten(published, code_version="7.0.0+abc")
    job = published.job(end="2013-04", output={"prediction": "z"})
    assert reasons(month(published, job)) == ["source", "job", "code"]


def test_a_partition_that_is_held(published: Place):
    held = published.out / "_held/month=2013-03.json"
    held.parent.mkdir()
    held.write_text("{}")
    assert covered(published)["2013-03"].state == "held"


def test_a_run_that_ended_leaves_a_failed_partition(published: Place):
    staging = published.out / "_staging/month=2013-03"
    (staging / "shell").mkdir(parents=True)
    (staging / "shell/rows-00000.arrow").write_bytes(b"rows")
    assert covered(published)["2013-03"].state == "missing"  # whose it is is not known
    (staging / f"shell{LOCK}").touch()
    assert covered(published)["2013-03"].state == "failed"


def test_what_another_job_has_published_is_missing(published: Place):
    rewritten(published, job="other")
    found = month(published)
    assert (found.state, found.model_version, reasons(found)) == ("missing", None, ["taken"])


def test_a_publisher_that_died_between_both_swaps_has_published(published: Place):
    manifests = published.out / "_manifests"
    current = manifests / "month=2013-02.json"
    manifest = Manifest.model_validate_json(current.read_bytes())
    name = f"month=2013-02.next-{manifest.output.sha256[:16]}.json"
    current.rename(manifests / name)
    assert month(published).state == "published"


@pytest.mark.integration
def test_the_source_in_s3_has_another_etag(lake: Place, s3: Any):
    changes = {"end": "2013-04", "source": {"uri": "{data}/source/{partition}.parquet"}}
    run = in_s3(lake, **changes)
    run_steps(run)

    def state() -> Covered:
        partitions = finished_partitions(run.job, datetime(2014, 1, 1, tzinfo=UTC))
        return coverage(run.job_file, run.roots, connections(), partitions)[0]

    assert state().state == "published"
    key = f"lake/source/{MONTH}.parquet"
    data = bytearray(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(data))  # the same bytes
    assert state().state == "published"
    data[100] ^= 1
    s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(data))
    assert [(r.code, Path(r.detail.split()[0]).name) for r in state().reasons] == [
        ("source", f"{MONTH}.parquet")
    ]
