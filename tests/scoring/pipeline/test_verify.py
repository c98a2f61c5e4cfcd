"""A published month, scored again to see that the same bytes come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scoring.destinations.manifest import Manifest, code_version
from scoring.errors import ModelError, SourceMissingError, VerifyError
from scoring.job.loader import load_job
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.verify import verify_partition
from tests.scoring.factories import MONTH, Place, layout, linear, rows, run_steps

BOTH = {
    "versions": [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
        {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-03"},
    ]
}
OWN_SCORER = "def run(df, model):\n    return df.assign(y=model.predict(df))[['y']]\n"


@pytest.fixture(autouse=True)
def _temporary_files_of_one_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def published(empty: Place) -> PartitionContext:
    """Ten rows, one of them without x, published with v1; v2 is there too."""
    empty.source(rows(10, x=[None, *map(float, range(2, 11))]))
    empty.model(name="v1.skops")
    empty.model(linear(3.0), "v2.skops")
    run = empty.run(empty.job(model=BOTH))
    run_steps(run)
    return run


def verify(run: PartitionContext) -> Manifest:
    return verify_partition(run, workers=1)


def difference(place: Place, run: PartitionContext) -> str:
    """The message of a failed verification, which has changed nothing."""
    before = {path: (place.out / path).read_bytes() for path in place.files()}
    with pytest.raises(VerifyError) as error:
        verify(run)
    assert {path: (place.out / path).read_bytes() for path in place.files()} == before
    assert list((place.folder / "tmp").iterdir()) == []
    return str(error.value)


def test_a_month_that_gives_the_same_bytes_again_is_verified_and_left_alone(
    empty: Place, published: PartitionContext
):
    before = {path: (empty.out / path).stat().st_mtime_ns for path in empty.files()}
    seen = []
    manifest = verify_partition(published, 1, lambda step, n, total: seen.append((step, n)))
    assert manifest == published.publisher.published(published.partition)
    assert seen == [("extract", 10), ("upload", 9)]
    assert {path: (empty.out / path).stat().st_mtime_ns for path in empty.files()} == before
    assert list((empty.folder / "tmp").iterdir()) == []


def test_a_month_without_a_model_is_verified_with_its_scorer(empty: Place):
    empty.source(rows(3))
    job = empty.job(model=None, scorer=empty.scorer("def run(df): return df.assign(y=1.0)"))
    run = empty.run(job)
    run_steps(run)
    assert verify(run).model.version.startswith("scorer-")
    empty.scorer("def run(df): return df.assign(y=2.0)")
    assert "the scorer file" in difference(empty, run)


def test_where_nothing_is_published_there_is_nothing_to_verify(place: Place):
    message = difference(place, place.run())
    assert message == f"nothing is published for sample {MONTH} under {place.out}"


@pytest.mark.parametrize("which", ["output", "quarantine"])
@pytest.mark.parametrize("harm", ["altered", "removed"])
def test_a_published_file_that_is_not_what_was_published_is_named(
    empty: Place, published: PartitionContext, which: str, harm: str
):
    manifest = published.publisher.published(published.partition)
    path = Path(getattr(manifest, which).uri)
    if harm == "altered":
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    else:
        path.unlink()
    message = difference(empty, published)
    assert f"{path} is not what was published" in message
    assert f"Score sample {MONTH} again to repair it" in message
    assert ("its sha256 is none" in message) == (harm == "removed")


def change_source(place: Place) -> None:
    place.source(rows(10, x=[None, *map(float, range(3, 12))]))


def change_model(place: Place) -> None:
    place.model(linear(2.5), "v1.skops")


def change_scorer(place: Place) -> None:
    place.scorer(OWN_SCORER.replace("(df))", "(df) + 1)"))


def change_job(place: Place) -> None:
    place.job(model=BOTH, scorer="scorer.py", output={"keep": ["x"]})


CHANGES: dict[str, Callable[[Place], None]] = {
    "the source": change_source,
    "the model file": change_model,
    "the scorer file": change_scorer,
    "the job file": change_job,
}


@pytest.mark.parametrize("changed", CHANGES)
def test_what_changed_since_is_named_and_nothing_else(empty: Place, changed: str):
    empty.source(rows(10, x=[None, *map(float, range(2, 11))]))
    empty.model()
    job = empty.job(model=BOTH, scorer=empty.scorer(OWN_SCORER))
    run_steps(empty.run(job))
    verify(empty.run(job))
    CHANGES[changed](empty)
    message = difference(empty, empty.run(load_job(job.path)))
    assert f"scoring sample {MONTH} again gives other bytes" in message
    assert "the published ones were left as they are" in message
    named = message.partition("Changed since: ")[2]
    assert [what for what in CHANGES if what in named] == [changed]
    assert ";" not in named


def test_another_release_of_the_code_or_of_a_package_is_named(
    empty: Place, published: PartitionContext
):
    path = Path(layout(published).manifest(published.partition.path))
    found = json.loads(path.read_bytes())
    found["code_version"] = "0.0.9+0123456789ab"
    found["packages"] |= {"numpy": "1.26.4"}
    path.write_text(json.dumps(found))
    assert verify(published).code_version == "0.0.9+0123456789ab"  # the bytes are what counts
    change_source(empty)
    named = difference(empty, published).partition("Changed since: ")[2].split("; ")
    assert named == [
        f"the source {empty.data}/source/{MONTH}.parquet",
        f"this package (0.0.9+0123456789ab to {code_version()})",
        f"numpy (1.26.4 to {np.__version__})",
    ]


def test_the_version_of_the_manifest_is_used_whatever_the_policy_says_now(
    empty: Place, published: PartitionContext
):
    current = empty.run(empty.job(model={**BOTH, "policy": "current"}))
    assert current.job.version_for(current.partition).version == "v2"
    assert verify(current).model.version == "v1"
    pinned = run_steps(published, "v2")
    assert verify(published) == pinned
    assert verify(current) == pinned


def test_a_version_that_the_job_no_longer_has_is_named(empty: Place, published: PartitionContext):
    only_v2 = {"versions": [{**BOTH["versions"][1], "in_force_from": "2013-02"}]}
    with pytest.raises(ModelError, match="no model version 'v1'; it has v2"):
        verify(empty.run(empty.job(model=only_v2)))


def test_a_source_that_is_gone_is_named(empty: Place, published: PartitionContext):
    (empty.data / "source" / f"{MONTH}.parquet").unlink()
    with pytest.raises(SourceMissingError, match=rf"{MONTH}\.parquet"):
        verify(published)
    assert list((empty.folder / "tmp").iterdir()) == []
