"""The processes that a run on this machine is spread over: one that extracts, and some that score.

None of them outlives the process that started it, even if that is killed: left alone, a scoring
process would wait for work and keep the lock on the staging, which it shares.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from threadpoolctl import threadpool_info

from scoring.errors import ScorerError
from scoring.models.base import ModelFile
from scoring.pipeline.challengers import NO_CHALLENGERS, Challengers
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.extract import OnRows, OnShard, extract
from scoring.pipeline.handover import Extraction

# Forked where that is safe: a fork shares the imported packages and the model in memory.
_CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD_BYTES = 32 << 20

_OMP_PAUSE_HARD = 2  # from omp.h


@contextmanager
def scoring_pool(
    workers: int, prepare: Callable[[], object] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Yield processes that score shards; they share what this process has imported and loaded.

    Each calls ``prepare`` first; what that raises, the first shard will raise again.  None is left
    after the block.
    """
    _end_openmp_threads()
    pool = ProcessPoolExecutor(
        workers, mp_context=_CONTEXT, initializer=_begin, initargs=(prepare,)
    )
    try:
        yield pool
    finally:
        # Where one of them could not be started, nothing tells the others to end, and Python waits
        # for them when it ends itself.
        started = dict(getattr(pool, "_processes", None) or {})
        pool.shutdown(cancel_futures=True)
        for process in started.values():
            if process.is_alive():
                process.kill()
                process.join()


class ExtractionProcess:
    """The extract step at work in a process of its own, while this one loads the model."""

    def __init__(
        self, context: PartitionContext, model: ModelFile, challengers: Challengers
    ) -> None:
        self._receiver, sender = _CONTEXT.Pipe(duplex=False)
        self.model = model
        self._what = context.name
        self._process = _CONTEXT.Process(
            target=_extract, args=(context, model, challengers, sender)
        )
        self._process.start()
        sender.close()  # the other process has its own: when that is closed too, it has ended

    def result(self, on_shard: OnShard, on_rows: OnRows) -> Extraction:
        """Return what ``extract`` returns or raises; until then the callbacks are called as it
        says.
        """
        while True:
            try:
                message = self._receiver.recv()
            except EOFError:
                raise ScorerError(
                    f"{self._what}: the process that reads the source was killed, possibly out of "
                    "memory"
                ) from None
            if isinstance(message, Extraction):
                return message
            if isinstance(message, Exception):
                raise message
            if isinstance(message, tuple):
                on_rows(*message)
            else:
                on_shard(message)

    def end(self) -> None:
        """Wait until the process is gone, whatever it was doing."""
        self._process.kill()
        self._process.join()
        self._receiver.close()


@contextmanager
def extraction_beside(
    context: PartitionContext, model: ModelFile, challengers: Challengers = NO_CHALLENGERS
) -> Iterator[ExtractionProcess]:
    """Yield the extract step of ``context``, begun now; end it with the block."""
    process = ExtractionProcess(context, model, challengers)
    try:
        yield process
    finally:
        process.end()


def keep_freed_memory() -> None:
    """Let this process keep the memory that one batch frees for the next one.

    Otherwise glibc gives each large array back to the system, which hands it out again page by
    page: 4 % of the time of a month of ten million rows. Does nothing where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, 8 * _LARGEST_MMAP_THRESHOLD_BYTES)


def _end_openmp_threads() -> None:
    """End the threads that OpenMP keeps for its next loop; it starts new ones when it needs them.

    A process has them once it has trained a model or predicted with one.  A fork inherits OpenMP's
    belief in them and not the threads, and would wait for them.  The call is
    ``omp_pause_resource_all`` of OpenMP 5.0; an older library has none, and is left as it is.
    """
    for library in threadpool_info():
        if library["user_api"] == "openmp":
            with suppress(OSError, AttributeError):
                ctypes.CDLL(library["filepath"]).omp_pause_resource_all(_OMP_PAUSE_HARD)


def _extract(
    context: PartitionContext, model: ModelFile, challengers: Challengers, sender: Connection
) -> None:
    def on_rows(rows: int, total: int | None) -> None:
        sender.send((rows, total))

    try:
        _begin(None)
        sender.send(extract(context, model, sender.send, on_rows, challengers))
    except KeyboardInterrupt:
        pass  # the process that waits for this one has been interrupted too, and says so
    except Exception as error:  # noqa: BLE001 - whatever it is, the one that waits raises it
        error.add_note(traceback.format_exc())
        sender.send(error)


def _begin(prepare: Callable[[], object] | None) -> None:
    keep_freed_memory()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, name="end-with-parent", daemon=True).start()
    if prepare:
        with suppress(Exception):  # which would end the whole pool, without a word
            prepare()
