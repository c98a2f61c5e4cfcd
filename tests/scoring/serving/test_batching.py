from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from scoring.serving.batching import Batcher, BusyError


class Recorder:
    """Answers a request with itself, and notes which came together; waits while it is shut."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, requests: Sequence[str]) -> list[str | Exception]:
        assert self.open.wait(60)
        self.batches.append(list(requests))
        return [ValueError(r) if r == "bad" else r for r in requests]


async def queued(
    batcher: Batcher[str, str], recorder: Recorder, waiting: list[tuple[str, int, object]]
) -> list[asyncio.Task[str]]:
    """Ask while the model is busy with a first request; then let it go on."""
    recorder.open.clear()
    tasks = [asyncio.create_task(batcher.submit("first", 1, "a"))]
    await asyncio.sleep(0.05)
    tasks += [asyncio.create_task(batcher.submit(*one)) for one in waiting]
    await asyncio.sleep(0)
    recorder.open.set()
    return tasks


def run(
    waiting: list[tuple[str, int, object]], max_batch: int = 10
) -> tuple[Recorder, list[object]]:
    recorder = Recorder()

    async def ask() -> list[object]:
        batcher: Batcher[str, str] = Batcher(recorder, max_batch, 0, 100)
        tasks = await queued(batcher, recorder, waiting)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return list(found)

    return recorder, asyncio.run(ask())


def test_what_comes_while_the_model_is_busy_is_the_next_batch():
    recorder, answers = run([("b", 1, "a"), ("c", 1, "a")])
    assert recorder.batches == [["first"], ["b", "c"]]
    assert answers == ["first", "b", "c"]


def test_a_batch_has_one_kind_and_so_many_rows():
    recorder, answers = run(
        [("b", 6, "a"), ("c", 4, "a"), ("d", 1, "a"), ("e", 1, "other"), ("f", 50, "a")]
    )
    assert recorder.batches == [["first"], ["b", "c"], ["d"], ["e"], ["f"]]
    assert answers == ["first", "b", "c", "d", "e", "f"]


def test_an_error_is_that_of_one_request():
    _, answers = run([("b", 1, "a"), ("bad", 1, "a"), ("c", 1, "a")])
    assert [type(answer) for answer in answers] == [str, str, ValueError, str]


def test_a_full_queue_is_said_at_once():
    recorder = Recorder()

    async def ask() -> None:
        batcher: Batcher[str, str] = Batcher(recorder, 10, 0, 5)
        tasks = await queued(batcher, recorder, [])
        recorder.open.clear()
        tasks.append(asyncio.create_task(batcher.submit("b", 4, "a")))
        await asyncio.sleep(0.05)
        tasks.append(asyncio.create_task(batcher.submit("c", 4, "a")))
        await asyncio.sleep(0)
        assert batcher.rows_waiting >= 4
        with pytest.raises(BusyError):
            await batcher.submit("d", 4, "a")
        recorder.open.set()
        assert await asyncio.gather(*tasks) == ["first", "b", "c"]
        batcher.close()

    asyncio.run(ask())
