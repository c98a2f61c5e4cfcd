"""Run a command as a whole: its time, or the memory of all its processes.

In two runs, because looking at memory takes time from what is looked at, the more the more
processes it has: the kernel walks the pages of each for every sample.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

SAMPLE_SECONDS = 0.05
ONE_OPENMP_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Timed:
    """``cpu_seconds`` is of the command and of all processes that it has started."""

    wall_seconds: float
    cpu_seconds: float
    stdout: str

    def figures(self) -> dict[str, float]:
        return {
            "wall_seconds": round(self.wall_seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
        }


@dataclass(frozen=True)
class Memory:
    """``largest_mb`` is the peak resident memory of any one process (pages shared with others
    counted in full); ``together_mb`` the peak sum over all processes, shared pages counted once."""

    largest_mb: float
    together_mb: float

    def figures(self) -> dict[str, float]:
        return {
            "largest_process_mb": round(self.largest_mb),
            "all_processes_mb": round(self.together_mb),
        }


def timed(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Timed:
    """Run ``command`` to its end; a failure ends the benchmark with the command's own message."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, env={**os.environ, **(environment or {})}
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        _check(process.returncode, command, errors.read())
        return Timed(wall, used.ru_utime + used.ru_stime, output.read())


def memory(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *services: int
) -> Memory:
    """Run like ``timed``, for the memory, also of ``services`` (process ids) that run already."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        with watched(process.pid, *services) as peak:
            process.wait()
        errors.seek(0)
        _check(process.returncode, command, errors.read())
    return peak.memory()


class Peak(threading.Thread):
    """Looks at the memory of some processes and of all below them until it is stopped."""

    def __init__(self, *roots: int) -> None:
        super().__init__(daemon=True)
        self._roots = [psutil.Process(root) for root in roots]
        self._stopped = threading.Event()
        self._largest = self._together = 0

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            sizes = [size for root in self._roots for size in _memory_of(root)]
            self._largest = max([self._largest, *(rss for rss, _ in sizes)])
            self._together = max(self._together, sum(pss for _, pss in sizes))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def memory(self) -> Memory:
        return Memory(self._largest / 1e6, self._together / 1e6)


@contextmanager
def watched(*roots: int) -> Iterator[Peak]:
    """Yield the memory of the processes ``roots`` and of all below them during the block."""
    peak = Peak(*roots)
    peak.start()
    try:
        yield peak
    finally:
        peak.stop()


def cpu_seconds(root: int) -> float:
    """Return what a running process and all below it, also those that have ended, have used."""
    process, total = psutil.Process(root), 0.0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])  # its own, and of the children that have ended
    return total


def _check(status: int, command: Sequence[str], errors: str) -> None:
    if status:
        raise SystemExit(f"error: {' '.join(command)[:200]} failed:\n{errors}")


def _memory_of(root: psutil.Process) -> list[tuple[int, int]]:
    """Return (resident, proportional) bytes of ``root`` and all below it."""
    sizes = []
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    for process in processes:
        try:
            used = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        sizes.append((used.rss, used.pss))
    return sizes
