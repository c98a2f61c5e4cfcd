"""Runs a command and measures it as a whole: wall time, and the memory of all its processes."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

import psutil

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Measured:
    """``largest_mb`` is the peak resident memory of any one process (pages shared with others
    counted in full); ``together_mb`` the peak sum over all processes, shared pages counted once."""

    wall_seconds: float
    cpu_seconds: float
    largest_mb: float
    together_mb: float
    stdout: str

    def figures(self) -> dict[str, float]:
        return {
            "wall_seconds": round(self.wall_seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "largest_process_mb": round(self.largest_mb),
            "all_processes_mb": round(self.together_mb),
        }


def measure(command: list[str]) -> Measured:
    """Runs ``command`` to its end; a failure ends the benchmark with the command's own message."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    root = psutil.Process(process.pid)
    largest, together, cpu = 0.0, 0.0, {}
    while True:
        try:
            output, errors = process.communicate(timeout=SAMPLE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            sizes = _memory_of(root, cpu)
            largest = max([largest, *(rss for rss, _ in sizes)])
            together = max(together, sum(pss for _, pss in sizes))
    wall = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command)[:200]} failed:\n{errors}")
    return Measured(wall, sum(cpu.values()), largest / 1e6, together / 1e6, output)


def _memory_of(root: psutil.Process, cpu: dict[int, float]) -> list[tuple[int, int]]:
    """(resident, proportional) bytes of ``root`` and all below it; notes their CPU seconds."""
    sizes = []
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    for process in processes:
        try:
            memory = process.memory_full_info()
            times = process.cpu_times()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        cpu[process.pid] = times.user + times.system
        sizes.append((memory.rss, memory.pss))
    return sizes
