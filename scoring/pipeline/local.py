"""All three steps for one partition on this machine, with a process for each core.

This is what the shell command runs: the same steps as Airflow's tasks. The source is read while the
model is still being loaded, shards are scored while the source is still being read, and joined in
order while later ones are still being scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from scoring.destinations.manifest import Manifest
from scoring.errors import ScorerError
from scoring.models.base import ModelFile
from scoring.models.environment.build import environment_of
from scoring.pipeline.attempts import held
from scoring.pipeline.challengers import Challengers, find_challengers
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.cpus import available_cores, threads_of_each
from scoring.pipeline.handover import Scored
from scoring.pipeline.publish import publish
from scoring.pipeline.score import checked_model, score
from scoring.pipeline.staging import Staged
from scoring.pipeline.workers import (
    ExtractionProcess,
    extraction_beside,
    keep_freed_memory,
    scoring_pool,
)

OnProgress = Callable[[str, int, int | None], None]
"""Called with the step (``extract`` or ``upload``), how many more rows it has done, and of how many."""


def score_partition(
    context: PartitionContext,
    triggered_by: Mapping[str, str],
    pinned_version: str | None = None,
    workers: int | None = None,
    on_progress: OnProgress = lambda step, rows, total: None,
    *,
    replace_newer: bool = False,
) -> Manifest:
    """Extract, score and publish the partition; returns the manifest of what is published.

    ``workers`` is the number of scoring processes, by default one for each core this process may
    use; they share these cores as threads, if ``run.threads`` does not say how many.  Raises what
    the steps raise, and leaves no staging behind, however it ends short of a kill; what a kill
    leaves, the next run removes.
    """
    model = context.model_file(pinned_version)
    context = context.with_inputs_of(model)
    challengers = find_challengers(context, model)
    keep_freed_memory()
    with held(context):
        try:
            with extraction_beside(context, model, challengers) as extraction:
                workers = workers or available_cores()
                threads = threads_of_each(workers)
                with _pool_with_model(context, model, workers, threads) as pool:
                    scored = _ScoringPool(pool, context, model, threads, challengers)
                    shards = scored.follow(extraction, on_progress)
                    staged = sum(shard.rows for shard in shards)
                    return publish(
                        context,
                        scored.results(shards),
                        triggered_by,
                        lambda rows: on_progress("upload", rows, staged),
                        replace_newer=replace_newer,
                    )
        except BrokenProcessPool:
            raise ScorerError(
                f"{context.name}: a scoring process was killed, possibly out "
                "of memory. Use fewer --workers; a smaller run.shard_rows does not help "
                "here"
            ) from None


@contextmanager
def _pool_with_model(
    context: PartitionContext, model: ModelFile, workers: int, threads: int
) -> Iterator[ProcessPoolExecutor]:
    """Yield workers that have the model; raises what is wrong with it.

    Forked workers inherit a model that was loaded before.  One in an environment of its own is a
    child process of each worker; all are started at once, while the first shard is staged.
    """
    load = partial(checked_model, context, model, context.job.run.threads or threads)
    if model.environment is None:
        load()
        with scoring_pool(workers) as pool:
            yield pool
        return
    environment_of(model.environment)  # what is wrong with it is said once
    with scoring_pool(workers, load) as pool:
        pool.submit(_without_result, load).result()
        yield pool


def _without_result(call: Callable[[], object]) -> None:
    """Call ``call``, whose result stays in this process."""
    call()


class _ScoringPool:
    """Shards being scored by the processes of ``pool``."""

    def __init__(
        self,
        pool: ProcessPoolExecutor,
        context: PartitionContext,
        model: ModelFile,
        threads: int,
        challengers: Challengers,
    ) -> None:
        self._pool = pool
        self._score = partial(
            score, context, file=model, threads=threads, challengers=challengers.files
        )
        self._futures: dict[Staged, Future[Scored]] = {}

    def follow(self, extraction: ExtractionProcess, on_progress: OnProgress) -> list[Staged]:
        """Start to score each shard as soon as it is staged; the partition's shards in the end."""
        shards = extraction.result(
            self._start, lambda rows, total: on_progress("extract", rows, total)
        ).shards
        for shard in shards:
            if shard not in self._futures:  # rewritten without rows that repeat an id
                self._start(shard)
        return shards

    def results(self, shards: list[Staged]) -> Iterator[Scored]:
        """Yield what became of ``shards``, in their order."""
        for shard in shards:
            yield self._futures.pop(shard).result()

    def _start(self, shard: Staged) -> None:
        self._futures[shard] = self._pool.submit(self._score, shard)
