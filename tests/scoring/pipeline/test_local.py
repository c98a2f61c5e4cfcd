"""All three steps at once, with scoring processes that live, die and are left waiting."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scoring.destinations.manifest import Manifest
from scoring.errors import (
    ContractError,
    ModelError,
    PublicationError,
    ScorerError,
    ScoringError,
    SourceMissingError,
)
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.local import score_partition
from tests.scoring.factories import Place, predictions, reasons, rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="scoring processes are forked")

SHARDS = 3
ROWS = 2500
PUBLISHED = [
    "_columns.arrow",
    "_locks/columns",
    "_locks/month=2013-02",
    "_manifests/month=2013-02.json",
    "month=2013-02/predictions.parquet",
]

AT_THE_GATE = """
import fcntl, os, pathlib
here = pathlib.Path(__file__).parent
def run(df, model):
    (here / "scorers" / str(os.getpid())).touch()
    (here / "arrived").open("wb", buffering=0).write(b".")
    with (here / "gate").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
    return df.assign(y=model.predict(df))[["y"]]
"""
"""A scorer that says which process it is in and then waits until nobody holds ``gate``."""


@pytest.fixture
def large(empty: Place) -> Place:
    """A folder with a month of three shards, and its model."""
    empty.source(rows(ROWS))
    empty.model()
    return empty


def score(run: PartitionContext, workers: int = 2, pinned: str | None = None) -> Manifest:
    return score_partition(run, {"by": "test"}, pinned, workers)


class AtTheGate:
    """A run in a process of its own whose scoring processes wait for ``open``."""

    def __init__(self, place: Place) -> None:
        self.run = place.run(place.job(scorer=place.scorer(AT_THE_GATE)))
        self._scorers = place.folder / "scorers"
        self._scorers.mkdir()
        self._gate = (place.folder / "gate").open("w")
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        os.mkfifo(place.folder / "arrived")
        self._arrived = os.open(place.folder / "arrived", os.O_RDWR)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                score(self.run)
                status = 0
            finally:
                os._exit(status)
        os.read(self._arrived, 1)  # waits until a scorer is there

    def scorers(self) -> list[psutil.Process]:
        return [psutil.Process(int(path.name)) for path in self._scorers.iterdir()]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.ended() == -signal.SIGKILL

    def open(self) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        self.open()
        self._gate.close()
        os.close(self._arrived)

    def ended(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def at_the_gate(large: Place) -> Iterator[AtTheGate]:
    run = AtTheGate(large)
    scorers = run.scorers()
    yield run
    run.close()
    for process in scorers:
        if process.is_running():
            process.kill()


def test_the_number_of_scoring_processes_does_not_change_a_byte(large: Place):
    run = large.run()
    one = score(run, workers=1)
    first = Path(one.output.uri).read_bytes()
    three = score(run, workers=3)
    assert Path(three.output.uri).read_bytes() == first
    assert one.output.sha256 == three.output.sha256
    assert predictions(three).column("id").to_pylist() == list(range(1, ROWS + 1))
    assert predictions(three).column("y").to_pylist() == pytest.approx(
        [2.0 * i for i in range(1, ROWS + 1)]
    )
    assert large.files() == PUBLISHED


def test_repeated_ids_that_are_found_after_a_shard_is_scored_are_quarantined(large: Place):
    ids = list(range(1, ROWS + 1))
    ids[5] = ids[2400] = 3  # rows 6 and 2401: the first shard and the last one are rewritten
    large.source(rows(ROWS, id=ids))
    manifest = score(large.run())
    assert reasons(manifest) == {
        6: ("duplicate_row_id", None),
        2401: ("duplicate_row_id", None),
    }
    assert manifest.rows.scored == predictions(manifest).num_rows == ROWS - 2
    assert len(set(predictions(manifest).column("id").to_pylist())) == ROWS - 2


def test_progress_is_reported_for_both_steps_up_to_all_rows(large: Place):
    large.source(rows(ROWS, x=[None, *map(float, range(2, ROWS + 1))]))
    seen: dict[str, list[tuple[int, int | None]]] = {"extract": [], "upload": []}
    score_partition(
        large.run(), {"by": "test"}, None, 1, lambda step, n, total: seen[step].append((n, total))
    )
    assert sum(n for n, _ in seen["extract"]) == ROWS
    assert {total for _, total in seen["extract"]} == {ROWS}
    assert sum(n for n, _ in seen["upload"]) == ROWS - 1
    assert {total for _, total in seen["upload"]} == {ROWS - 1}


def test_a_scoring_process_that_is_killed_is_a_readable_error_and_leaves_nothing(large: Place):
    code = (
        "import os, signal\n"
        "def run(df):\n"
        "    if 1500 in set(df['x']):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return df.assign(y=0.0)\n"
    )
    run = large.run(large.job(scorer=large.scorer(code)))
    with pytest.raises(ScorerError) as error:
        score(run)
    assert "sample 2013-02: a scoring process was killed" in str(error.value)
    assert "--workers" in str(error.value)
    assert run.publisher.published(run.partition) is None
    assert large.files() in ([], ["_locks/month=2013-02"])


FAILING_AT_THE_END = (
    "def run(df):\n"
    "    if 2500 in set(df['x']):\n"
    "        raise ValueError('the last rows are odd')\n"
    "    return df.assign(y=0.0)\n"
)


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"source": {"uri": "{data}/nothing.parquet"}}, SourceMissingError, "nothing.parquet"),
        ({"checks": {"min_rows": 2501}}, ContractError, "checks.min_rows"),
        (
            {
                "inputs": {"x": {"type": "float64", "max": 1000}},
                "checks": {"max_quarantined_fraction": 0.5},
            },
            ContractError,
            "above_max: x: 1,500 rows",
        ),
        ({"scorer": "odd.py"}, ScorerError, "the last rows are odd"),
        ({"scorer": "not_there.py"}, ScorerError, "not_there.py cannot be read"),
    ],
    ids=["no source", "few rows", "bad rows", "scorer fails late", "no scorer"],
)
def test_what_fails_leaves_the_published_month_and_no_staging(
    large: Place, changes: dict, kind: type[ScoringError], expected: str
):
    large.scorer(FAILING_AT_THE_END, "odd.py")
    before = score(large.run())
    files = large.files()
    run = large.run(large.job(**changes))
    with pytest.raises(kind, match=expected) as error:
        score(run)
    assert type(error.value) is kind
    assert run.publisher.published(run.partition) == before
    assert predictions(before).num_rows == ROWS
    assert large.files() == files


def test_a_version_that_is_not_in_the_job_is_refused_before_anything_is_read(large: Place):
    with pytest.raises(ModelError, match="no model version 'v9'; it has v1"):
        score(large.run(), pinned="v9")
    assert not large.out.exists()


def test_of_two_runs_of_the_same_month_the_second_is_refused(large: Place, at_the_gate: AtTheGate):
    with pytest.raises(PublicationError) as error:
        score(at_the_gate.run)
    assert "sample 2013-02 is being written by another process" in str(error.value)
    assert "nothing was changed by this one" in str(error.value)
    at_the_gate.open()
    assert at_the_gate.ended() == 0
    assert large.files() == PUBLISHED
    published = at_the_gate.run.publisher.published(at_the_gate.run.partition)
    assert published is not None
    assert predictions(published).column("id").to_pylist() == list(range(1, ROWS + 1))


def test_another_month_is_scored_meanwhile(large: Place, at_the_gate: AtTheGate):
    large.source(rows(7), "2013-03.parquet")
    job = large.job(scorer=None)
    assert score(large.run(job, "2013-03")).rows.scored == 7
    at_the_gate.open()
    assert at_the_gate.ended() == 0


def test_the_scoring_processes_of_a_killed_run_end_and_its_staging_goes_with_the_next_run(
    large: Place, at_the_gate: AtTheGate
):
    scorers = at_the_gate.scorers()
    at_the_gate.kill()
    gone, alive = psutil.wait_procs(scorers)
    assert (len(gone), alive) == (len(scorers), [])
    assert [f for f in large.files() if "/rows-" in f]
    run = at_the_gate.run
    assert run.publisher.published(run.partition) is None
    at_the_gate.open()
    manifest = score(run)
    assert manifest.rows.scored == ROWS
    assert large.files() == PUBLISHED
