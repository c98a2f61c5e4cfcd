"""All three steps for one partition on this machine, with a process for each core.

This is what the shell command runs: the same steps as Airflow's tasks.  Shards are scored by worker
processes while the source is still being read, and joined in order while later ones are still being
scored.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from scoring.errors import ScorerError
from scoring.extract import extract
from scoring.manifest import Manifest
from scoring.model import ModelFile, choose_model
from scoring.run import PartitionRun
from scoring.score import Scored, prepare, score
from scoring.staging import Staged
from scoring.upload import upload

OnProgress = Callable[[str, int, int | None], None]
"""Told the step (``extract`` or ``upload``), how many more rows it has done, and of how many."""


def score_partition(
    run: PartitionRun,
    evidence: dict[str, str],
    pinned_version: str | None = None,
    workers: int | None = None,
    on_progress: OnProgress = lambda step, rows, total: None,
) -> Manifest:
    """Extracts, scores and publishes ``run``'s partition; returns the manifest of what is published.

    ``workers`` is the number of scoring processes, by default one for each core this process may
    use; each runs with ``run.threads`` threads.  Raises what the steps raise, and leaves no staging
    behind, however it ends short of a kill; what a kill leaves, the next run removes.
    """
    storage, lock = run.storage, f"{run.staging}.lock"
    model = choose_model(run, pinned_version)
    # Before the workers are forked: they inherit the loaded model, and a wrong one fails early.
    prepare(run, model)
    with storage.claim(lock, f"{run.job.name} {run.partition.key}"):
        pool = _pool(workers or available_cores())
        try:
            return _score_in(pool, run, model, evidence, on_progress)
        except BrokenProcessPool:
            raise ScorerError(
                f"{run.job.name} {run.partition.key}: a scoring process was killed, perhaps for want "
                "of memory; nothing was published. A smaller run.shard_rows does not help here, "
                "fewer --workers do"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
            storage.remove_tree(run.staging)
            storage.remove(lock)


def available_cores() -> int:
    """The cores that this process may use, which in a container can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _score_in(
    pool: ProcessPoolExecutor,
    run: PartitionRun,
    model: ModelFile,
    evidence: dict[str, str],
    on_progress: OnProgress,
) -> Manifest:
    futures: dict[Staged, Future[Scored]] = {}

    def start_scoring(shard: Staged) -> None:
        futures[shard] = pool.submit(score, run, shard, model)

    def scored() -> Iterator[Scored]:
        for shard in extraction.shards:
            yield futures.pop(shard).result()

    extraction = extract(
        run, model, start_scoring, lambda rows, total: on_progress("extract", rows, total)
    )
    for shard in extraction.shards:
        if shard not in futures:  # rewritten without rows that repeat an id
            start_scoring(shard)
    staged = sum(shard.rows for shard in extraction.shards)
    return upload(run, scored(), evidence, lambda rows: on_progress("upload", rows, staged))


def _pool(workers: int) -> ProcessPoolExecutor:
    """Forked where that is safe: a fork shares the imported packages and the model in memory."""
    method = "fork" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Lets this scoring process live no longer than the one that started it, even if that is killed.

    Left alone, it would wait for work for ever and keep the claim on the staging, which it shares.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
