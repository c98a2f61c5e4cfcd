from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scoring.destinations.layout import Layout
from scoring.errors import PublicationError
from scoring.pipeline.context import PartitionContext
from tests.scoring.factories import Place, rows, run_steps


@pytest.fixture
def three(place: Place) -> list[PartitionContext]:
    """Runs of three months, all with a source."""
    for key in ("2013-03", "2013-04"):
        place.source(rows(3), f"{key}.parquet")
    job = place.job()
    return [place.run(job, key) for key in ("2013-02", "2013-03", "2013-04")]


def keys(run: PartitionContext) -> list[str]:
    return [manifest.partition for manifest in run.publisher.all_published()]


def test_everything_of_a_month_lies_under_the_destination(place: Place):
    run = place.run()
    place_of = Layout.of(run.job, run.roots)
    assert place_of.uri == f"{place.data}/out"
    assert place_of.output(run.partition) == f"{place.out}/month=2013-02/predictions.parquet"
    assert place_of.manifest(run.partition.path) == f"{place.out}/_manifests/month=2013-02.json"
    assert run.staged("rows", 7) == f"{place.out}/_staging/month=2013-02/a/rows-00007.arrow"


def test_two_attempts_never_share_a_staging(place: Place):
    assert place.run(attempt="a").staging != place.run(attempt="b").staging


def test_before_anything_is_published_there_is_nothing(three: list[PartitionContext]):
    assert three[0].publisher.published(three[0].partition) is None
    assert keys(three[0]) == []


def test_published_months_are_listed_in_order(three: list[PartitionContext]):
    for run in (three[2], three[0]):
        run_steps(run)
    assert keys(three[0]) == ["2013-02", "2013-04"]
    assert three[1].publisher.published(three[1].partition) is None
    manifest = three[2].publisher.published(three[2].partition)
    assert manifest is not None
    assert manifest.rows.rows_in == 3


def waiting(run: PartitionContext, sha256: str | None = None) -> Path:
    """A manifest that waits for its predictions, whose digest is ``sha256`` or the published one."""
    current = Path(Layout(run.publisher.uri).manifest(run.partition.path))
    found = json.loads(current.read_bytes())
    found["run"] = {"by": "the next one"}
    found["output"]["sha256"] = sha256 or found["output"]["sha256"]
    path = Path(
        Layout(run.publisher.uri).next_manifest(run.partition.path, found["output"]["sha256"])
    )
    path.write_text(json.dumps(found))
    return path


@pytest.mark.parametrize(("digest", "by"), [(None, "the next one"), ("0" * 64, "test")])
def test_of_two_manifests_the_one_with_the_digest_of_the_predictions_counts(
    place: Place, digest: str | None, by: str
):
    run = place.run()
    run_steps(run)
    waiting(run, digest)
    manifest = run.publisher.published(run.partition)
    assert manifest is not None
    assert manifest.run == {"by": by}
    assert [m.run for m in run.publisher.all_published()] == [{"by": by}]


def test_a_first_manifest_whose_predictions_never_came_publishes_nothing(place: Place):
    run = place.run()
    run_steps(run)
    waiting(run)
    Path(Layout(run.publisher.uri).manifest(run.partition.path)).unlink()
    assert keys(run) == ["2013-02"]  # killed after the swap
    Path(Layout(run.publisher.uri).output(run.partition)).unlink()
    assert run.publisher.published(run.partition) is None  # killed before it
    assert keys(run) == []


def test_the_next_publication_removes_what_waited_in_vain(place: Place):
    run = place.run()
    run_steps(run)
    left = waiting(run, "0" * 64)
    run_steps(run)
    assert not left.exists()


def test_a_destination_may_have_a_name_that_looks_like_a_pattern(place: Place):
    run = place.run(place.job(destination={"uri": "{data}/out[1]"}))
    run_steps(run)
    assert keys(run) == ["2013-02"]
    left = waiting(run)
    manifest = run.publisher.published(run.partition)
    assert manifest is not None
    assert manifest.run == {"by": "the next one"}
    place.source(rows(5, x=[None] * 5))
    run_steps(run)
    place.source(rows(6, x=[None] * 6))
    run_steps(run)
    assert not left.exists()
    assert len(list((place.data / "out[1]" / "_quarantine" / "month=2013-02").iterdir())) == 1


def test_a_damaged_manifest_is_named(place: Place):
    run = place.run()
    run_steps(run)
    path = Path(Layout(run.publisher.uri).manifest(run.partition.path))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PublicationError, match=r"month=2013-02\.json is not a manifest: Invalid"):
        run.publisher.published(run.partition)


def test_other_files_beside_the_manifests_do_no_harm(place: Place):
    run = place.run()
    run_steps(run)
    (place.out / "_manifests" / "notes.txt").write_text("x")
    assert keys(run) == ["2013-02"]


def test_a_destination_ends_without_a_slash(place: Place):
    job = place.job(destination={"uri": "{data}/out/"})
    assert Layout.of(job.job, job.roots(str(place.data))).uri == f"{place.data}/out"


def test_when_a_destination_is_removed_nothing_is_published(place: Place):
    run = place.run()
    run_steps(run)
    shutil.rmtree(place.out)
    assert run.publisher.published(run.partition) is None
