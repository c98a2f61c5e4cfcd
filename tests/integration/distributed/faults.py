"""Faults: which process is killed at which instant, and what came of it."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from dataclasses import dataclass, field

import psutil

from tests.integration.distributed.cluster import Cluster, Task

KINDS = ("worker", "scheduler", "S3", "Valkey", "Postgres")
SERVICES = {
    "scheduler": "scheduler",
    "S3": "object-store",
    "Valkey": "valkey",
    "Postgres": "postgres",
}
LONGEST_OUTAGE_SECONDS = 5.0  # before the supervisor starts it again, which takes its time too


@dataclass
class Fault:
    """A kill, and the tasks that were at work then; ``recovered`` when the last of them had
    succeeded.
    """

    kind: str
    at: float
    at_work: list[Task]
    recovered: float | None = None

    @property
    def seconds(self) -> float:
        return (self.recovered or time.monotonic()) - self.at

    def look(self, tasks: list[Task]) -> None:
        done = {(t.run_id, t.task_id, t.map_index) for t in tasks if t.state == "success"}
        if self.recovered is None and all(
            (t.run_id, t.task_id, t.map_index) in done for t in self.at_work
        ):
            self.recovered = time.monotonic()


@dataclass
class Figures:
    """What the rounds of a test have come to."""

    faults: list[Fault] = field(default_factory=list)
    months: int = 0
    rows_lost: int = 0
    reads: int = 0
    bad_reads: list[str] = field(default_factory=list)

    def table(self) -> str:
        """In Markdown: a line for each kind, and one for all, as rows and reads have no kind."""
        lines = [
            "| killed | times | seconds to recover: median | longest | months scored | lost rows | "
            "bad reads |",
            "|---|---|---|---|---|---|---|",
        ]
        for kind in KINDS:
            seconds = [fault.seconds for fault in self.faults if fault.kind == kind]
            if seconds:
                middle, longest = statistics.median(seconds), max(seconds)
                lines.append(f"| {kind} | {len(seconds)} | {middle:.0f} | {longest:.0f} | | | |")
        lines.append(
            f"| all | {len(self.faults)} | | | {self.months} | {self.rows_lost} | "
            f"{len(self.bad_reads)} of {self.reads:,} |"
        )
        return "\n".join(lines)


def kill(cluster: Cluster, kind: str, chance: random.Random) -> None:
    """SIGKILL for a process and all that it has started, at once, as when its machine dies."""
    name = SERVICES.get(kind) or chance.choice(cluster.stack.workers)
    service = cluster.service(name)
    everyone = [psutil.Process(service.process.pid)]
    everyone += everyone[0].children(recursive=True)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: none sees another one die
        for process in everyone:
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue
    service.process.wait()
