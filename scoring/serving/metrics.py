"""What a service counts, for Prometheus.

Several processes share their counts by files in a folder (prometheus_client's multiprocess mode), so
that whichever is asked answers for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from scoring.serving.jobs import State
from scoring.serving.shared_counts import FOLDER

REQUESTS = Counter("scoring_requests_total", "Requests by job and status code.", ["job", "status"])
ROWS = Counter(
    "scoring_rows_total",
    "Rows by job, version and what became of them.",
    ["job", "version", "status"],
)
SECONDS = Histogram(
    "scoring_request_seconds",
    "From the first byte of a request to the last of its answer.",
    ["job"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BATCH_ROWS = Histogram(
    "scoring_batch_rows",
    "Rows that were scored together.",
    ["job"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096),
)
QUEUE_ROWS = Gauge(
    "scoring_queue_rows", "Rows that wait for the model.", ["job"], multiprocess_mode="livesum"
)
IN_FORCE = Gauge(
    "scoring_in_force",
    "1 for the model version that is in force.",
    ["job", "version"],
    multiprocess_mode="livemax",
)
PROBLEMS = Gauge(
    "scoring_job_problems",
    "1 for a job whose newest file or model cannot be loaded.",
    ["job"],
    multiprocess_mode="livemax",
)
TYPE = CONTENT_TYPE_LATEST


class Gauges:
    """The gauges of one process; a version that is no longer in force has 0."""

    def __init__(self) -> None:
        self._in_force: set[tuple[str, str]] = set()

    def set(self, states: Iterable[State], waiting: Mapping[str, int]) -> None:
        """Set the gauges to the ``states`` of the jobs and the rows that wait for each."""
        in_force = set()
        for state in states:
            PROBLEMS.labels(state.name).set(state.problem is not None)
            if state.version is not None:
                in_force.add((state.name, state.version))
        for labels in self._in_force | in_force:
            IN_FORCE.labels(*labels).set(labels in in_force)
        self._in_force = in_force
        for name, rows in waiting.items():
            QUEUE_ROWS.labels(name).set(rows)


def exposition() -> bytes:
    """Return the metrics of all processes of this service, as text."""
    if FOLDER not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
