"""A destination belongs to the job whose manifests are there."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import yaml

from scoring.destinations.parquet import ParquetPublication
from scoring.errors import DestinationTakenError
from scoring.job.loader import load_job
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.publish import publish
from tests.scoring.factories import JOB, Place, extracted, in_s3, merged, rows, run_steps, scored


def other_job(place: Place, key: str = "2013-02", **changes: Any) -> PartitionContext:
    """A run of another job with the destination of the sample job."""
    path = place.folder / "other.yaml"
    path.write_text(yaml.safe_dump(merged(JOB, {"name": "other", **changes})))
    return place.run(load_job(path), key)


TAKEN = "and what is published there is the job sample's, such as 2013-0[23]. It was left as it is"


@pytest.mark.parametrize("published", ["2013-02", "2013-03", "2013-05"])
def test_extract_refuses_a_destination_of_another_job(place: Place, published: str):
    for month in ("2013-03", "2013-04", "2013-05"):
        place.source(rows(10), f"{month}.parquet")
    run_steps(place.run(key=published))
    before = place.files()
    for key in ("2013-02", "2013-03", "2013-04"):
        run = other_job(place, key)
        with pytest.raises(DestinationTakenError) as error:
            extracted(run)
        assert f"other publishes to {place.out}, and what is published there" in str(error.value)
        assert f"the job sample's, such as {published}. It was left as it is" in str(error.value)
        assert "{former_names: [sample]}" in str(error.value)
    assert place.files() == before


def test_publication_refuses_what_was_published_since(place: Place):
    run = other_job(place)
    extraction = extracted(run)
    results = scored(run, extraction)
    published = run_steps(place.run(attempt="b"))
    for replace_newer in (False, True):
        with pytest.raises(DestinationTakenError, match=TAKEN):
            publish(run, results, {"by": "test"}, replace_newer=replace_newer)
    assert run.publisher.published(run.partition) == published


@pytest.mark.parametrize("key", ["2013-02", "2013-03"])
def test_the_last_look_is_right_before_the_predictions_are_swapped(
    place: Place, monkeypatch: pytest.MonkeyPatch, key: str
):
    place.source(rows(10), "2013-03.parquet")
    run = other_job(place)
    results = scored(run, extracted(run))
    commit = ParquetPublication.commit
    first = place.run(key=key, attempt="b")

    def commit_after_the_other(publication: ParquetPublication, manifest: Any) -> Any:
        monkeypatch.undo()
        if key == "2013-02":  # the lock would keep the other one out
            shutil.rmtree(place.out / "_locks")
        run_steps(first)
        return commit(publication, manifest)

    monkeypatch.setattr(ParquetPublication, "commit", commit_after_the_other)
    with pytest.raises(DestinationTakenError, match=TAKEN):
        publish(run, results, {"by": "test"})
    assert [m.job for m in first.publisher.all_published()] == ["sample"]


def test_a_former_name_is_the_jobs_own(place: Place):
    place.source(rows(10), "2013-03.parquet")
    run_steps(place.run())
    former = {"destination": {"uri": "{data}/out", "former_names": ["older", "sample"]}}
    for key in ("2013-03", "2013-02"):
        run_steps(other_job(place, key, **former))
    jobs = [m.job for m in place.run().publisher.all_published()]
    assert jobs == ["other", "other"]
    with pytest.raises(DestinationTakenError, match="is the job other's"):
        extracted(place.run())


def test_a_destination_that_two_jobs_have_mixed_is_neither_ones(place: Place):
    """As releases before this check left them: each is message, before it replaces more."""
    place.source(rows(10), "2013-03.parquet")
    run_steps(place.run())
    former = {"destination": {"uri": "{data}/out", "former_names": ["sample"]}}
    run_steps(other_job(place, "2013-03", **former))
    with pytest.raises(DestinationTakenError, match="is the job other's, such as 2013-03"):
        extracted(place.run())
    with pytest.raises(DestinationTakenError, match="is the job sample's, such as 2013-02"):
        extracted(other_job(place, "2013-03"))


def test_an_object_store_is_looked_at_too(lake: Place):
    run_steps(in_s3(lake))
    run = in_s3(lake, name="sample")
    other = other_job(lake)
    taken = PartitionContext(other.job_file, run.partition, run.roots, "b", run.connections)
    with pytest.raises(DestinationTakenError, match="publishes to s3://scoring/lake/out, and what"):
        extracted(taken)
