"""A server as a process, with all that it starts: until it is ready, its memory, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import BROKEN, HOST, ask, get

READY_SECONDS = 180
LOOK_SECONDS = 0.02
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Running:
    """``start_seconds`` is from the command to the first answer that it is ready."""

    port: int
    start_seconds: float
    process: psutil.Process

    def memory_mb(self) -> list[float]:
        """Return the memory of each process, the largest first: of its own, and its share of what
        it has in common with others.
        """
        return sorted((found.pss / 1e6 for found in self._memory()), reverse=True)

    def own_memory_mb(self) -> float:
        """Return the memory that the processes share with nobody.

        Other processes that begin or end do not change it, as they do the share of libraries.
        """
        return float(sum(found.uss for found in self._memory())) / 1e6

    def _memory(self) -> Iterator[Any]:
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                yield process.memory_full_info()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    ready: str,
    environment: Mapping[str, str],
    log: Path,
    core: int,
) -> Iterator[Running]:
    """Start ``command`` on one core, with one thread for BLAS and OpenMP, and wait until it answers
    ``ready`` with 200; end it and all that it has started."""
    with log.open("wb") as output:
        started = time.monotonic()
        server = subprocess.Popen(
            command,
            env={**os.environ, **ONE_THREAD, **environment},
            stdout=output,
            stderr=output,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        process = psutil.Process(server.pid)
        try:
            while not _is_ready(port, ready):
                if server.poll() is not None or time.monotonic() > started + READY_SECONDS:
                    raise SystemExit(f"error: {command[0]} is not ready:\n{_end_of(log)}")
                time.sleep(LOOK_SECONDS)
            yield Running(port, time.monotonic() - started, process)
        finally:
            end(server)


def end(server: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started; those that do not end in time are killed."""
    tree = []
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(server.pid)
        tree = [root, *root.children(recursive=True)]
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(tree, timeout=10)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


def _is_ready(port: int, path: str) -> bool:
    with contextlib.suppress(*BROKEN):
        return asyncio.run(ask(port, get(path, port)))[0] == 200
    return False


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
