"""Publication, killed at every step; shards that do not belong together; two publishers."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pytest

from scoring.destinations.manifest import Manifest
from scoring.errors import (
    ContractError,
    NewerPublicationError,
    NotStagedError,
    PublicationError,
)
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import Scored
from scoring.pipeline.publish import in_order, publish
from scoring.storage import local as storage_module
from scoring.storage.local import exclusive
from tests.scoring.factories import (
    Place,
    extracted,
    in_process,
    layout,
    linear,
    predictions,
    quarantine,
    rows,
    run_steps,
    scored,
)

EVIDENCE = {"by": "airflow", "dag_id": "sample", "run_id": "r"}
SLOPES = {"v1": 2.0, "v2": 3.0, "v3": 5.0}
VERSIONS = [
    {"version": name, "uri": f"{{models}}/{name}.skops", "in_force_from": f"2013-0{i}"}
    for i, name in enumerate(SLOPES, 2)
]

Content = dict[int, float] | None
"""For each id of the published month its prediction; None where no month is published."""

OLD: Content = {i: 2.0 * i for i in range(1, 11) if i != 3}
"""v1 on ten rows, of which the third cannot be scored."""

NEW: Content = {i: 3.0 * i for i in range(1, 13) if i not in (4, 7)}
"""v2 on twelve rows, of which the fourth and the seventh cannot be scored."""

SET_ASIDE = {"v1": {3}, "v2": {4, 7}}


def without(count: int, *ids: int) -> pa.Table:
    """``count`` rows, x = id, but null for ``ids``."""
    return rows(count, x=[None if i in ids else float(i) for i in range(1, count + 1)])


@pytest.fixture
def versions(empty: Place) -> Place:
    """A folder with the models of SLOPES."""
    for name, slope in SLOPES.items():
        empty.model(linear(slope), f"{name}.skops")
    return empty


def job_of(place: Place, **changes: Any) -> PartitionContext:
    return place.run(place.job(model={"versions": VERSIONS}, **changes))


def content(table: pa.Table) -> dict[int, float]:
    pairs = table.select(["id", "y"]).to_pydict()
    return {i: round(y, 6) for i, y in zip(pairs["id"], pairs["y"], strict=True)}


def seen_by_a_reader(run: PartitionContext) -> Content:
    """What is published, after checking that all of it is there and belongs together."""
    manifest = run.publisher.published(run.partition)
    files = pa.dataset.dataset(run.publisher.uri, format="parquet").files
    assert list(run.publisher.all_published()) == ([manifest] if manifest else [])
    if manifest is None:
        assert files == []
        return None
    assert files == [layout(run).output(run.partition)] == [manifest.output.uri]
    assert hashlib.sha256(Path(files[0]).read_bytes()).hexdigest() == manifest.output.sha256
    assert Path(files[0]).stat().st_size == manifest.output.bytes
    found = predictions(manifest)
    assert set(found.column("model_version").to_pylist()) == {manifest.model.version}
    assert manifest.rows.scored == found.num_rows
    assert manifest.rows.rows_in == manifest.rows.scored + manifest.rows.quarantined
    assert manifest.quarantine is not None
    rejected = Path(manifest.quarantine.uri).read_bytes()
    assert hashlib.sha256(rejected).hexdigest() == manifest.quarantine.sha256
    assert set(quarantine(manifest).column("id").to_pylist()) == SET_ASIDE[manifest.model.version]
    return content(found)


def files_of(manifest: Manifest) -> list[str]:
    """All files that a destination has after ``manifest`` was published; ``Place.files``' order."""
    names = [
        "_columns.arrow",
        "_locks/columns",
        "_locks/month=2013-02",
        "_manifests/month=2013-02.json",
    ]
    if manifest.quarantine:
        names.append(f"_quarantine/month=2013-02/{manifest.quarantine.sha256[:16]}.parquet")
    return [*names, "month=2013-02/predictions.parquet"]


STEPS = [
    (os, "mkdir"),
    (os, "fsync"),
    (os, "replace"),
    (os, "remove"),
    (os, "unlink"),
    (os, "rmdir"),
    (storage_module._PendingFile, "__init__"),
]
"""All that changes names in the file system, and what makes the bytes of a hidden file last."""


def killed_before_step(number: int, function: Callable[[], Any]) -> bool:
    """Calls ``function`` in a process that kills itself before its ``number``-th step of STEPS.

    Returns whether it was killed; False if it ended well before it came to that step.
    """

    def until_the_step() -> None:
        left = number

        def counted(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **kwargs)

            return step

        for owner, name in STEPS:
            setattr(owner, name, counted(getattr(owner, name)))
        function()

    status = in_process(until_the_step)
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize(
    ("before", "next_version", "next_source"),
    [(None, "v2", without(12, 4, 7)), (OLD, "v3", rows(12))],
    ids=["first publication", "publication over an old one"],
)
def test_killed_at_any_step_the_month_is_the_old_or_the_new_one_whole(
    versions: Place,
    before: Content,
    next_version: str,
    next_source: pa.Table,
    monkeypatch: pytest.MonkeyPatch,
):
    # A process that is killed loses nothing it has written; waiting for the disk would be half of
    # the time.
    monkeypatch.setattr(os, "fsync", lambda file: None)
    run = job_of(versions)
    if before:
        versions.source(without(10, 3))
        run_steps(run, "v1")
    versions.source(without(12, 4, 7))
    staged = scored(run, extracted(run, "v2"))
    prepared = shutil.copytree(versions.out, versions.folder / "prepared")
    versions.source(next_source)
    expected = {
        i: SLOPES[next_version] * x
        for i, x in next_source.to_pandas().set_index("id")["x"].dropna().items()
    }
    seen = []
    while killed_before_step(len(seen) + 1, lambda: publish(run, staged, EVIDENCE)):
        seen.append(seen_by_a_reader(run))
        converged = run_steps(run, next_version)
        assert content(predictions(converged)) == expected
        assert run.publisher.published(run.partition) == converged
        assert versions.files() == files_of(converged), f"killed before step {len(seen)}"
        shutil.rmtree(versions.out)
        shutil.copytree(prepared, versions.out)
    assert seen_by_a_reader(run) == NEW
    instant = seen.index(NEW)
    assert 5 < instant < len(seen) - 5  # kills before the instant of publication, and after it
    assert seen == [before] * instant + [NEW] * (len(seen) - instant)


def test_killed_at_any_step_the_same_upload_can_be_tried_again(
    versions: Place, monkeypatch: pytest.MonkeyPatch
):
    """As Airflow does it: the task alone is tried again, with the same shards."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    run = job_of(versions)
    versions.source(without(12, 4, 7))
    staged = scored(run, extracted(run, "v2"))
    prepared = shutil.copytree(versions.out, versions.folder / "prepared")
    evidence = {"by": "airflow", "dag_id": "sample", "run_id": "backfill__1"}

    def attempt(number: int) -> Manifest:
        return publish(run, staged, evidence | {"try_number": str(number)})

    step = 1
    while killed_before_step(step, lambda: attempt(1)):
        again = attempt(2)
        assert seen_by_a_reader(run) == NEW
        assert run.publisher.published(run.partition) == again
        assert versions.files() == files_of(again), f"killed before step {step}"
        shutil.rmtree(versions.out)
        shutil.copytree(prepared, versions.out)
        step += 1
    assert step > 20


def test_another_run_does_not_take_what_is_published_for_its_own(versions: Place):
    run = job_of(versions)
    versions.source(without(12, 4, 7))
    evidence = {"by": "airflow", "dag_id": "sample", "run_id": "one"}
    publish(run, scored(run, extracted(run, "v2")), evidence)
    assert publish(run, [], evidence).model.version == "v2"
    for other in ({"run_id": "two"}, {"dag_id": "other"}):
        with pytest.raises(PublicationError, match=r"extraction\.json is not there"):
            publish(run, [], evidence | other)


def test_a_reader_at_any_time_sees_only_whole_months(versions: Place):
    versions.source(without(2000, 3))
    run = job_of(versions)
    run_steps(run, "v1")
    path = Path(layout(run).output(run.partition))
    stop, looked = versions.folder / "stop", versions.folder / "looked"

    def read_all_the_time() -> None:
        slopes: list[float] = []
        while not stop.exists():
            manifest = run.publisher.published(run.partition)
            assert manifest is not None
            assert manifest.rows.scored == 1999
            found = predictions(manifest).to_pandas()
            assert len(found) == 1999
            slope = SLOPES[found["model_version"].iloc[0]]
            assert found["y"].to_numpy() == pytest.approx(slope * found["id"].to_numpy())
            slopes.append(slope)
            looked.write_text(" ".join(map(str, slopes)))
        assert len(set(slopes)) > 1

    def publish_until_it_was_seen() -> None:
        for version in ["v2", "v3", "v1"] * 100:
            run_steps(run, version)
            if looked.exists() and len(set(looked.read_text().split())) > 1:
                break
        stop.touch()

    publisher = os.fork()
    if publisher == 0:
        try:
            publish_until_it_was_seen()
        finally:
            stop.touch()
            os._exit(0)
    assert in_process(read_all_the_time) == 0
    os.waitpid(publisher, 0)
    assert path.exists()


@pytest.fixture
def published(versions: Place) -> tuple[PartitionContext, list[Scored]]:
    """An old month of three shards with v1, and the same one staged and scored with v2."""
    versions.source(without(2500, 3))
    run = job_of(versions)
    run_steps(run, "v1")
    return run, scored(run, extracted(run, "v2"))


OLD_OF_2500 = {i: 2.0 * i for i in range(1, 2501) if i != 3}


def refused(
    run: PartitionContext, shards: list[Scored], kind: type[PublicationError] = PublicationError
) -> str:
    """The message with which ``shards`` are refused, after checking that the old month stands."""
    files = files_beside_staging(run)
    with pytest.raises(PublicationError) as error:
        publish(run, shards, EVIDENCE)
    assert type(error.value) is kind
    assert seen_by_a_reader(run) == OLD_OF_2500
    assert files_beside_staging(run) == files
    return str(error.value)


def files_beside_staging(run: PartitionContext) -> dict[str, bytes]:
    root = Path(run.publisher.uri)
    files = [path for path in root.rglob("*") if path.is_file() and "_staging" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_shards_in_order_are_published_and_the_staging_is_gone(
    versions: Place, published: tuple[PartitionContext, list[Scored]]
):
    run, shards = published
    counted: list[int] = []
    manifest = publish(run, shards, {"by": "airflow", "run_id": "x"}, counted.append)
    assert counted == [999, 1000, 500]
    assert manifest.run == {"by": "airflow", "run_id": "x"}
    assert seen_by_a_reader_of_v2(run) == {i: 3.0 * i for i in OLD_OF_2500}
    assert predictions(manifest).column("id").to_pylist() == list(OLD_OF_2500)
    assert versions.files() == files_of(manifest)


def seen_by_a_reader_of_v2(run: PartitionContext) -> dict[int, float]:
    manifest = run.publisher.published(run.partition)
    assert manifest is not None
    assert manifest.model.version == "v2"
    return content(predictions(manifest))


def test_shards_that_came_in_any_order_can_be_put_in_order(
    published: tuple[PartitionContext, list[Scored]],
):
    run, shards = published
    message = refused(run, [shards[1], shards[0], shards[2]])
    assert "sample 2013-02: shard 1 came, expected shard 0 of 3" in message
    publish(run, in_order([shards[2], shards[0], shards[1]]), EVIDENCE)
    assert seen_by_a_reader_of_v2(run) == {i: 3.0 * i for i in OLD_OF_2500}


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ([], "0 of 3 shards were scored"),
        ([0, 1], "2 of 3 shards were scored"),
        ([1, 2], "shard 1 came, expected shard 0 of 3"),
        ([0, 0, 1, 2], "shard 0 came, expected shard 1 of 3"),
        ([0, 1, 2, 2], "shard 2 came, expected shard 3 of 3"),
    ],
)
def test_shards_that_are_missing_or_come_twice_are_refused(
    published: tuple[PartitionContext, list[Scored]], chosen: list[int], reason: str
):
    run, shards = published
    message = refused(run, [shards[i] for i in chosen])
    assert f"sample 2013-02: {reason}" in message
    assert "Run the whole partition again" in message


def test_a_shard_number_beyond_the_last_is_refused(
    published: tuple[PartitionContext, list[Scored]],
):
    run, shards = published
    more = shards[2].model_copy(update={"number": 3})
    assert "shard 3 came, expected shard 3 of 3" in refused(run, [*shards, more])


def test_a_shard_with_other_rows_than_were_staged_is_refused(
    published: tuple[PartitionContext, list[Scored]],
):
    run, shards = published
    foreign = shards[2].model_copy(update={"number": 1})
    message = refused(run, [shards[0], foreign, shards[2]])
    assert (
        "shard 1 has 1,000 rows, of which 500 were scored, 0 quarantined and 0 left out" in message
    )


def test_a_shard_of_as_many_other_rows_is_known_by_its_keys(
    versions: Place, published: tuple[PartitionContext, list[Scored]]
):
    run, shards = published
    swapped = shards[1].model_copy(update={"number": 2})
    versions.source(rows(500, id=list(range(5001, 5501))), "2013-03.parquet")
    other = versions.run(run.job_file, "2013-03")
    (foreign,) = scored(other, extracted(other, "v2"))
    foreign = foreign.model_copy(update={"number": 2})
    message = refused(run, [*shards[:2], foreign])
    assert "the row ids at the end differ from those at the start" in message
    assert "1,000 were scored" in refused(run, [*shards[:2], swapped])


def test_accounts_that_do_not_come_out_even_are_refused(
    published: tuple[PartitionContext, list[Scored]],
):
    run, shards = published
    path = Path(f"{run.staging}/extraction.json")
    path.write_text(path.read_text().replace('"rows_in":2500', '"rows_in":2501'))
    message = "2,501 rows came in, 2,499 were scored, 1 quarantined and 0 left out"
    assert message in refused(run, shards)


def changed(staged_uri: str) -> None:
    path = Path(staged_uri)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(staged_uri: str) -> None:
    path = Path(staged_uri)
    path.write_bytes(path.read_bytes()[:-100])


def removed(staged_uri: str) -> None:
    Path(staged_uri).unlink()


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (changed, "differs from what the previous step wrote"),
        (cut_off, "differs from what the previous step wrote"),
        (removed, "is missing or incomplete"),
    ],
)
@pytest.mark.parametrize("which", ["predictions", "quarantine"])
def test_a_staged_table_that_was_tampered_with_is_named(
    published: tuple[PartitionContext, list[Scored]],
    harm: Callable[[str], None],
    expected: str,
    which: str,
):
    run, shards = published
    prediction = shards[1].predictions
    assert prediction is not None
    uri = prediction.uri if which == "predictions" else run.staged("quarantine", 0)
    harm(uri)
    assert f"the staged table {uri} {expected}" in refused(run, shards)


def test_a_job_file_that_was_changed_between_the_steps_is_reported(
    versions: Place, published: tuple[PartitionContext, list[Scored]]
):
    _, shards = published
    changed_run = job_of(versions, description="another one")
    message = refused(changed_run, shards, NotStagedError)
    assert f"{changed_run.job_file.path} has changed since 2013-02 was extracted" in message


def test_without_an_extraction_there_is_nothing_to_publish(
    versions: Place, published: tuple[PartitionContext, list[Scored]]
):
    run, shards = published
    other = versions.run(run.job_file, attempt="b")
    assert f"{other.staging}/extraction.json is not there" in refused(other, shards, NotStagedError)


def test_while_another_process_publishes_the_month_this_one_is_refused(
    published: tuple[PartitionContext, list[Scored]],
):
    run, shards = published
    to_holder, to_test = os.pipe(), os.pipe()
    holder = os.fork()
    if holder == 0:
        lock = layout(run).lock(run.partition)
        with exclusive(lock, "the holder"):
            os.write(to_test[1], b"held")
            os.read(to_holder[0], 1)
            os._exit(0)
    assert os.read(to_test[0], 4) == b"held"
    message = refused(run, shards)
    assert "sample 2013-02 is being written by another process" in message
    os.write(to_holder[1], b"x")
    os.waitpid(holder, 0)
    for end in (*to_holder, *to_test):
        os.close(end)
    publish(run, shards, EVIDENCE)
    assert seen_by_a_reader_of_v2(run) == {i: 3.0 * i for i in OLD_OF_2500}


@pytest.mark.parametrize("limit", [200, 3_000])
def test_when_the_disk_takes_no_more_the_old_month_stays(
    published: tuple[PartitionContext, list[Scored]], limit: int
):
    run, shards = published

    def upload_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        assert "cannot be written: File too large" in refused(run, shards)

    assert in_process(upload_too_much) == 0


def test_predictions_that_are_null_count_as_quarantined_in_the_end(versions: Place):
    versions.source(rows(1500))
    code = "def run(df):\n    return df.assign(y=df.x.where(df.x < 1400))[['y']]\n"
    name = versions.scorer(code)
    manifest = run_steps(job_of(versions, scorer=name), "v1")
    assert manifest.rows.reasons == {"null_prediction: y": 101}
    assert manifest.rows.scored == 1399
    assert quarantine(manifest).column("id").to_pylist() == list(range(1400, 1501))
    strict = job_of(versions, scorer=name, checks={"max_quarantined_fraction": 0.05})
    with pytest.raises(ContractError, match="101 of 1,500 rows"):
        run_steps(strict, "v1")
    assert run_published(strict) == manifest


def run_published(run: PartitionContext) -> Manifest | None:
    return run.publisher.published(run.partition)


@pytest.mark.parametrize("count", [0, 3])
def test_a_month_of_which_no_row_can_be_scored_is_published_without_rows(
    versions: Place, count: int
):
    schema = pa.schema({"id": pa.int64(), "x": pa.float64(), "place": pa.string()})
    ids = list(range(1, count + 1))
    table = pa.table({"id": ids, "x": [None] * count, "place": ["here"] * count}, schema)
    versions.source(table)
    run = job_of(versions, checks={"min_rows": 0}, output={"keep": ["place"]})
    manifest = run_steps(run, "v1")
    assert (manifest.rows.rows_in, manifest.rows.scored) == (count, 0)
    found = predictions(manifest)
    assert found.num_rows == 0
    assert found.column_names == ["id", "y", "place", "model_version", "partition"]
    assert versions.files() == files_of(manifest)


def test_a_scorer_that_is_swapped_between_the_steps_publishes_nothing(empty: Place):
    empty.source(rows(10))
    scorer = empty.scorer("def run(df):\n    return df.assign(y=1)\n")
    run = empty.run(empty.job(model=None, scorer=scorer))
    extraction = extracted(run)
    empty.scorer("def run(df):\n    return df.assign(y=2)\n")
    shards = scored(run, extraction)
    with pytest.raises(PublicationError, match="the scorer was changed before shard 0 was scored"):
        publish(run, shards, {"by": "test"})
    assert run.publisher.published(run.partition) is None


def airflow_run(run_id: str) -> dict[str, str]:
    return {"by": "airflow", "dag_id": "sample", "run_id": run_id}


@pytest.fixture
def overtaken(versions: Place) -> tuple[PartitionContext, list[Scored]]:
    """A run that has scored with v1, and while it waited another run has published v2."""
    versions.source(rows(20))
    job = versions.job(model={"versions": VERSIONS})
    older, newer = (versions.run(job, attempt=attempt) for attempt in ("older", "newer"))
    staged = scored(older, extracted(older, "v1"))
    publish(newer, scored(newer, extracted(newer, "v2")), airflow_run("newer"))
    return older, staged


def test_an_older_staged_result_never_replaces_a_newer_publication(
    versions: Place, overtaken: tuple[PartitionContext, list[Scored]]
):
    older, staged = overtaken
    before = {name: (versions.out / name).read_bytes() for name in versions.files()}
    for _ in range(2):  # a retry changes nothing
        with pytest.raises(NewerPublicationError) as error:
            publish(older, staged, airflow_run("older"))
        assert str(error.value).startswith(
            "sample 2013-02: the run newer of the Dag sample has published this month with model "
            "version v2, after the run older of the Dag sample had read the source. The newer "
            "publication stands; nothing was changed."
        )
    assert {name: (versions.out / name).read_bytes() for name in versions.files()} == before


def test_replace_newer_replaces_it_and_the_manifest_says_so(
    overtaken: tuple[PartitionContext, list[Scored]],
):
    older, staged = overtaken
    manifest = publish(older, staged, airflow_run("older"), replace_newer=True)
    assert manifest.model.version == "v1"
    assert manifest.run == {
        **airflow_run("older"),
        "replaced_newer": "the run newer of the Dag sample",
    }
    assert older.publisher.published(older.partition) == manifest


def test_the_same_bytes_published_again_are_a_newer_publication_too(versions: Place):
    versions.source(rows(20))
    run_steps(versions.run(versions.job(model={"versions": VERSIONS})), "v1")
    job = versions.job(model={"versions": VERSIONS})
    older = versions.run(job, attempt="older")
    staged = scored(older, extracted(older, "v2"))
    for version in ("v2", "v1"):
        run_steps(versions.run(job, attempt="newer"), version)
    with pytest.raises(NewerPublicationError, match="with model version v1"):
        publish(older, staged, airflow_run("older"))


def test_a_month_that_was_removed_meanwhile_may_be_published(
    versions: Place, overtaken: tuple[PartitionContext, list[Scored]]
):
    older, staged = overtaken
    shutil.rmtree(versions.out / "month=2013-02")
    shutil.rmtree(versions.out / "_manifests")
    assert publish(older, staged, airflow_run("older")).model.version == "v1"


def test_of_two_runs_of_the_same_work_the_older_has_nothing_left_to_do(versions: Place):
    versions.source(rows(20))
    job = versions.job(model={"versions": VERSIONS})
    older, newer = (versions.run(job, attempt=attempt) for attempt in ("older", "newer"))
    staged = scored(older, extracted(older, "v1"))
    published = publish(newer, scored(newer, extracted(newer, "v1")), airflow_run("newer"))
    assert publish(older, staged, airflow_run("older")) == published
    assert versions.files() == files_of(published)
