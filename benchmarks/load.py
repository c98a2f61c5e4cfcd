"""Requests over HTTP/1.1 on kept connections, and how long each takes.

The machine that answers also asks, so asking has to be cheap: the bytes of each request are made
before the clock starts, and of an answer only its status and its length are read.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"
SHOWN_BYTES = 500  # of an answer that is a failure
BROKEN = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


@dataclass
class Load:
    """``answers`` has (when it ended, how long it took) of each request that was answered with 200,
    in seconds; ``asking_seconds`` is the CPU time of this process meanwhile."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    wall_seconds: float = 0.0
    asking_seconds: float = 0.0

    @property
    def requests_per_second(self) -> float:
        return len(self.answers) / self.wall_seconds

    def percentile_ms(self, percent: float) -> float:
        return percentile([took for _, took in self.answers], percent) * 1000

    def check(self, name: str) -> None:
        """Exit if a request failed: the other figures would be those of another load."""
        if self.failures:
            every = len(self.failures) + len(self.answers)
            raise SystemExit(
                f"error: {name}: {len(self.failures)} of {every} requests failed, "
                f"the first with: {self.failures[0]}"
            )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of ``values`` that ``percent`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def post(path: str, port: int, body: bytes) -> bytes:
    """Return the bytes of a request with a JSON ``body``."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str, port: int) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode()


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Return status and body of the answer to ``request``."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    length = head.find(b"\r\ncontent-length:")
    if length >= 0:
        return status, await reader.readexactly(
            int(head[length + 17 : head.index(b"\r", length + 2)])
        )
    if b"\r\ntransfer-encoding: chunked\r\n" not in head:
        raise ValueError(f"an answer without a length: {head!r}")
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return status, body


async def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Return status and body of one answer, on a connection of its own."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        return await exchange(reader, writer, request)
    finally:
        writer.close()


async def closed_loop(port: int, requests: Sequence[bytes], connections: int, count: int) -> Load:
    """Send ``count`` requests, by turns those of ``requests``: each connection sends its next one
    when it has its answer."""
    numbers = iter(range(count))

    async def due() -> tuple[int, float] | None:
        number = next(numbers, None)
        return None if number is None else (number, time.perf_counter())

    return await _load(port, requests, connections, due)


async def open_loop(
    port: int, requests: Sequence[bytes], connections: int, per_second: float, seconds: float
) -> Load:
    """Send ``per_second`` requests for ``seconds``, however long the answers take.

    How long one took counts from when it was due: waiting for a free connection is part of it.
    """
    started, numbers = time.perf_counter(), itertools.count()

    async def due() -> tuple[int, float] | None:
        number = next(numbers)
        at = started + number / per_second
        if at >= started + seconds:
            return None
        if (wait := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        return number, at

    return await _load(port, requests, connections, due)


async def _load(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    due: Callable[[], Awaitable[tuple[int, float] | None]],
) -> Load:
    load = Load()

    async def connection() -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (next_one := await due()) is not None:
            number, since = next_one
            try:
                streams = streams or await asyncio.open_connection(HOST, port)
                status, body = await exchange(*streams, requests[number % len(requests)])
            except BROKEN as error:
                load.failures.append(f"{type(error).__name__}: {error}")
                if streams:
                    streams[1].close()
                streams = None
                continue
            ended = time.perf_counter()
            if status == 200:
                load.answers.append((ended, ended - since))
            else:
                load.failures.append(f"{status} {body[:SHOWN_BYTES].decode(errors='replace')}")
        if streams:
            streams[1].close()

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(connection() for _ in range(connections)))
    load.wall_seconds = time.perf_counter() - wall
    load.asking_seconds = time.process_time() - cpu
    return load
