"""Run a command as a whole: its time, or the memory of all its processes.

In two runs, because looking at memory takes time from what is looked at, the more the more
processes it has: the kernel walks the pages of each for every sample.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass

import psutil

SAMPLE_SECONDS = 0.05


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


def timed(command: list[str]) -> Timed:
    """Run ``command`` to its end; a failure ends the benchmark with the command's own message."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        _check(process.returncode, command, errors.read())
        return Timed(wall, used.ru_utime + used.ru_stime, output.read())


def memory(command: list[str]) -> Memory:
    """Run like ``timed``, for the memory; discard the output of the command."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        root = psutil.Process(process.pid)
        largest = together = 0
        while process.poll() is None:
            sizes = _memory_of(root)
            largest = max([largest, *(rss for rss, _ in sizes)])
            together = max(together, sum(pss for _, pss in sizes))
            time.sleep(SAMPLE_SECONDS)
        errors.seek(0)
        _check(process.returncode, command, errors.read())
    return Memory(largest / 1e6, together / 1e6)


def _check(status: int, command: list[str], errors: str) -> None:
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
