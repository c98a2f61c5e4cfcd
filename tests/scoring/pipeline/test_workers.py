"""The process that extracts: what it tells, and how it ends.  Those that score: see test_whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from scoring.errors import ScorerError, SourceMissingError
from scoring.pipeline import workers as processes
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import Extraction
from scoring.pipeline.staging import Staged, read_staged
from scoring.pipeline.workers import extraction_beside, keep_freed_memory
from scoring.storage.local import LocalStorage
from tests.scoring.factories import Place, in_process, rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the process is forked")


@pytest.fixture
def run(empty: Place) -> PartitionContext:
    """A month of two shards."""
    empty.source(rows(1500))
    empty.model()
    return empty.run()


def _result(run: PartitionContext, shards: list[Staged]) -> Extraction:
    with extraction_beside(run, run.model_file(None)) as extraction:
        return extraction.result(shards.append, lambda rows, total: None)


def test_each_shard_is_reported_and_lies_where_it_says(run: PartitionContext):
    shards: list[Staged] = []
    extraction = _result(run, shards)
    assert shards == extraction.shards
    assert [shard.rows for shard in shards] == [1000, 500]
    assert (
        sum(t.num_rows for s in shards for t in read_staged(s, LocalStorage()))
        == extraction.rows_in
        == 1500
    )


def test_the_library_s_errors_come_as_they_are(empty: Place):
    empty.model()
    with pytest.raises(SourceMissingError, match=r"2013-02\.parquet"):
        _result(empty.run(), [])


def test_any_other_error_says_where_it_arose(
    run: PartitionContext, monkeypatch: pytest.MonkeyPatch
):
    def wrong(*_: Any) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(processes, "extract", wrong)
    with pytest.raises(ZeroDivisionError, match="of all things") as error:
        _result(run, [])
    assert "in wrong" in error.value.__notes__[0]


def test_a_killed_process_is_a_readable_error(
    run: PartitionContext, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(processes, "extract", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ScorerError, match="reads the source was killed, possibly out of memory"):
        _result(run, [])


def test_it_ends_with_the_block_whatever_it_does(
    run: PartitionContext, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(processes, "extract", lambda *_: signal.pause())
    before = set(psutil.Process().children())
    with extraction_beside(run, run.model_file(None)):
        (process,) = set(psutil.Process().children()) - before
        assert process.is_running()
    assert not process.is_running()


def test_memory_is_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch):
    assert in_process(keep_freed_memory) == 0
    monkeypatch.setattr(processes.ctypes, "CDLL", lambda name: object())  # as musl's: no mallopt
    keep_freed_memory()


TRAINS_AND_SCORES = """
import sys
from pathlib import Path
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits
from scoring.pipeline.local import score_partition
from tests.scoring.factories import Place, rows

place = Place(Path(sys.argv[1]))
place.source(rows(10))
x = rows(2000).select(["x"]).to_pandas()
with threadpool_limits(2, "openmp"):
    model = HistGradientBoostingRegressor(max_iter=2).fit(x, x["x"])
pinned = {"uri": "{models}/v1.joblib", "sha256": place.model(model, "v1.joblib")}
version = {"version": "v1", "in_force_from": "2013-02", **pinned}
job = place.job(model={"versions": [version]}, run={"threads": 2})
print(score_partition(place.run(job), {}, workers=1).rows.scored)
"""


def test_a_process_that_has_trained_a_model_in_threads_can_score_with_it(empty: Place):
    command = [sys.executable, "-c", TRAINS_AND_SCORES, str(empty.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("10\n", 0), done.stderr
