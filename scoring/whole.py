"""All three steps for one partition on this machine, with a process for each core.

This is what the shell command runs: the same steps as Airflow's tasks.  The source is read while the
model is still being loaded, shards are scored while the source is still being read, and joined in
order while later ones are still being scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial

from scoring.cores import available_cores, threads_of_each
from scoring.errors import PublicationError, ScorerError
from scoring.manifest import Manifest
from scoring.model import choose_model
from scoring.processes import (
    ExtractionProcess,
    extraction_aside,
    keep_freed_memory,
    scoring_pool,
)
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
    use; they share these cores as threads, if ``run.threads`` does not say how many.  Raises what
    the steps raise, and leaves no staging behind, however it ends short of a kill; what a kill
    leaves, the next run removes.
    """
    storage, lock = run.storage, f"{run.staging}.lock"
    model = choose_model(run, pinned_version)
    keep_freed_memory()
    with storage.claim(lock, f"{run.job.name} {run.partition.key}"):
        try:
            with extraction_aside(run, model) as extraction:
                # Before the workers are forked: they inherit the loaded model.
                prepare(run, model)
                workers = workers or available_cores()
                pool = scoring_pool(workers)
                scoring = partial(score, threads=threads_of_each(workers))
                try:
                    return _score_in(pool, scoring, run, extraction, evidence, on_progress)
                finally:
                    pool.shutdown(cancel_futures=True)
        except BrokenProcessPool:
            raise ScorerError(
                f"{run.job.name} {run.partition.key}: a scoring process was killed, perhaps for want "
                "of memory; nothing was published. A smaller run.shard_rows does not help here, "
                "fewer --workers do"
            ) from None
        finally:
            with suppress(PublicationError):  # or it would hide why it ended
                storage.remove_tree(run.staging)
                storage.remove(lock)


def _score_in(
    pool: ProcessPoolExecutor,
    scoring: Callable[..., Scored],
    run: PartitionRun,
    extraction: ExtractionProcess,
    evidence: dict[str, str],
    on_progress: OnProgress,
) -> Manifest:
    futures: dict[Staged, Future[Scored]] = {}

    def start_scoring(shard: Staged) -> None:
        futures[shard] = pool.submit(scoring, run, shard, extraction.model)

    def scored() -> Iterator[Scored]:
        for shard in extracted.shards:
            yield futures.pop(shard).result()

    extracted = extraction.result(
        start_scoring, lambda rows, total: on_progress("extract", rows, total)
    )
    for shard in extracted.shards:
        if shard not in futures:  # rewritten without rows that repeat an id
            start_scoring(shard)
    staged = sum(shard.rows for shard in extracted.shards)
    return upload(run, scored(), evidence, lambda rows: on_progress("upload", rows, staged))
