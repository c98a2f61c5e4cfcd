"""Requests that wait for a model are scored together, as one table of rows.

While a model predicts, further requests arrive; they are the next batch.  A row gets the same
prediction in any company, so this changes nothing but the time that it takes.  Where a batch fails,
each of its requests is scored alone: an error is that of the request that causes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from threadpoolctl import threadpool_limits

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class BusyError(Exception):
    """More rows are waiting than a service keeps; ``after_seconds`` is when to try again."""

    def __init__(self, after_seconds: int) -> None:
        super().__init__(after_seconds)
        self.after_seconds = after_seconds


@dataclass(frozen=True)
class Waiting(Generic[Request, Answer]):
    """``request``, of so many ``rows``, may be scored together with others of the same ``kind``."""

    request: Request
    rows: int
    kind: object
    answer: asyncio.Future[Answer]


class Batcher(Generic[Request, Answer]):
    """The queue of one job, and the thread in which its model predicts.

    ``score`` is called there with requests of one kind, and returns an answer or an exception for
    each.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Request]], Sequence[Answer | Exception]],
        max_batch: int,
        max_wait_seconds: float,
        max_queue: int,
    ) -> None:
        self._score = score
        self._max_batch = max_batch
        self._max_wait_seconds = max_wait_seconds
        self._max_queue = max_queue
        self._queue: deque[Waiting[Request, Answer]] = deque()
        self._rows = 0
        self._arrived = asyncio.Event()
        # OpenMP counts its threads for each thread that calls it.
        self._thread = ThreadPoolExecutor(1, "score", initializer=threadpool_limits, initargs=(1,))
        self._task: asyncio.Task[None] | None = None
        self._crowded = False
        """Whether the last batch had several requests: a client that is alone waits for nobody."""

    @property
    def rows_waiting(self) -> int:
        return self._rows

    async def submit(self, request: Request, rows: int, kind: object) -> Answer:
        """Return the answer to ``request``.  Raises BusyError, and what ``score`` returned."""
        if self._rows and self._rows + rows > self._max_queue:
            raise BusyError(1)
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._run())
        answer: asyncio.Future[Answer] = loop.create_future()
        waiting = Waiting(request, rows, kind, answer)
        self._queue.append(waiting)
        self._rows += rows
        self._arrived.set()
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if self._crowded and self._rows < self._max_batch:
                await asyncio.sleep(self._max_wait_seconds)
            batch = self._next_batch()
            self._crowded = len(batch) > 1
            if not batch:
                continue
            try:
                answers = await loop.run_in_executor(
                    self._thread, self._score, [waiting.request for waiting in batch]
                )
            except Exception as error:  # noqa: BLE001 - those who wait raise it
                answers = [error] * len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.answer.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, Exception):
                    waiting.answer.set_exception(answer)
                else:
                    waiting.answer.set_result(answer)

    def _next_batch(self) -> list[Waiting[Request, Answer]]:
        """Take the first requests of one kind from the queue, up to ``max_batch`` rows."""
        batch: list[Waiting[Request, Answer]] = []
        rows = 0
        while self._queue:
            first = self._queue[0]
            if batch and (first.kind != batch[0].kind or rows + first.rows > self._max_batch):
                break
            self._queue.popleft()
            self._rows -= first.rows
            if not first.answer.done():
                batch.append(first)
                rows += first.rows
        if not self._queue:
            self._arrived.clear()
        return batch

    def close(self) -> None:
        """End the thread when it is idle; requests that still wait are cancelled."""
        if self._task is not None:
            self._task.cancel()
        for waiting in self._queue:
            waiting.answer.cancel()
        self._thread.shutdown(wait=False)
