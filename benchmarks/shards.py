"""A month of many shards on Celery workers: on one and on two of them, and the memory of its tasks.

Starts what ``make stack`` starts, with the month in its S3 service. Each worker has one task at a
time, and one thread for it: one core of two, so that the second worker brings the second core. What
one worker does with both cores, two threads a task, is shown too. The figure to compare is the time
from the first ``score`` task's start to the last one's end.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.big_month import MONTH, make_job, make_month
from devstack.airflow.api import NotReachable
from devstack.airflow.environment import S3_CONNECTION
from devstack.commands.stack import Stack, StackOptions, running
from devstack.home import Home
from devstack.services import object_store

JOB = "big_month"
SAMPLE_SECONDS = 0.2
DEADLINE_SECONDS = 3000

Figures = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Celery workers on this machine, each with so many of its cores."""

    workers: int
    cores: int


PLACES = {
    "one_worker": Place(1, 1),
    "two_workers": Place(2, 1),
    "one_worker_with_both_cores": Place(1, 2),
}


def run(data: Path, dags: Path, folder: Path, rows: int, huge_rows: int, rounds: int) -> Figures:
    """Measure the same month in each of ``PLACES``, ``rounds`` times; and a huge one, with the
    memory.
    """
    flights = data / "flights/year=2013/month=05/flights.parquet"
    model = data / "models/flight_delay/v1.skops"
    source = make_month(flights, folder, rows)
    measured: dict[str, list[Figures]] = {name: [] for name in PLACES}
    for _ in range(rounds):
        for name, place in PLACES.items():
            measured[name].append(_scored(dags, source, model, folder, place))
            print("   ", name, measured[name][-1], file=sys.stderr)
    seconds = {name: [of["score_seconds"] for of in measured[name]] for name in PLACES}
    ratios = [
        round(two / one, 3)
        for one, two in zip(seconds["one_worker"], seconds["two_workers"], strict=True)
    ]
    figures: Figures = {
        "rows": rows,
        "score_seconds": seconds,
        "ratio_two_to_one": ratios,
        "median_ratio": statistics.median(ratios),
    }
    if huge_rows:
        huge = make_month(flights, folder, huge_rows)
        of_huge = _scored(dags, huge, model, folder, PLACES["two_workers"], memory=True)
        figures["huge_month"] = {"rows": huge_rows, **of_huge}
    return figures


def _scored(
    dags: Path, source: Path, model: Path, folder: Path, place: Place, memory: bool = False
) -> Figures:
    """Score the month of ``source`` on a stack of its own; return seconds of its tasks, or their
    memory.

    Not both: sampling memory slows down what it samples.
    """
    home = Home(folder / "stack")
    shutil.rmtree(home.root, ignore_errors=True)
    jobs = _dags(dags, folder / "stack-dags")
    cores = {"LOKY_MAX_CPU_COUNT": str(place.cores)}
    options = StackOptions(home, jobs, workers=place.workers, tasks_per_worker=1, settings=cores)
    with running(options, lambda text: None) as stack:
        s3 = object_store.client(stack.object_store)
        s3.upload_file(str(source), stack.object_store.bucket, "flights.parquet")
        s3.upload_file(str(model), stack.object_store.bucket, "models/flight_delay/v1.skops")
        _let_airflow_score(stack)
        if not memory:
            _wait_until_scored(stack)
            return _seconds(stack)
        with _largest_task(stack) as largest:
            _wait_until_scored(stack)
        return {**_seconds(stack), "largest_task_mb": round(largest[0] / 1e6)}


def _dags(dags: Path, folder: Path) -> Path:
    """Write the loader and the one job, with all URIs in the bucket."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "jobs").mkdir(parents=True)
    shutil.copy(dags / "scoring_jobs.py", folder)
    job = make_job(
        dags / "jobs/flight_delay.yaml", "{data}/flights.parquet", folder / "jobs", "{data}"
    )
    settings = f"end: {MONTH}\nrun: {{aws_conn_id: {S3_CONNECTION}, retries: 0}}\n"
    kept = [
        line
        for line in job.read_text(encoding="utf-8").splitlines()
        if not line.startswith(("end:", "run:", "start:"))
    ]
    job.write_text("\n".join(kept) + f"\nstart: {MONTH}\n{settings}", encoding="utf-8")
    return folder


def _let_airflow_score(stack: Stack) -> None:
    """Wait until Airflow knows the job and scores it."""
    while True:
        stack.supervisor.watch(0.5)
        try:
            if stack.api.dag(JOB) is not None:
                return stack.api.unpause(JOB)
        except NotReachable:
            continue


def _wait_until_scored(stack: Stack) -> None:
    """Wait until the month's run has ended, by asking the database, which costs the machine least."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        stack.supervisor.watch(2)
        states = stack.database.execute("SELECT state FROM dag_run")
        if states == [("success",)]:
            return
        if ("failed",) in states:
            raise SystemExit(f"error: the month was not scored; see {stack.home.task_logs}")
    raise SystemExit(f"error: the month was not scored within {DEADLINE_SECONDS} s")


def _seconds(stack: Stack) -> Figures:
    """Return seconds of each step from its first task's start to its last one's end, and how many
    shards.
    """
    query = (
        "SELECT task_id, count(*), extract(epoch FROM max(end_date) - min(start_date)) "
        "FROM task_instance WHERE state = 'success' GROUP BY task_id"
    )
    steps = {
        task: (count, float(seconds)) for task, count, seconds in stack.database.execute(query)
    }
    return {
        "shards": steps["score"][0],
        **{f"{task}_seconds": round(seconds, 2) for task, (_, seconds) in steps.items()},
    }


@contextmanager
def _largest_task(stack: Stack) -> Iterator[list[float]]:
    """Yield, filled in at the end, the resident bytes of the largest process started by a worker."""
    largest, ended = [0.0], threading.Event()
    workers = [s.process.pid for s in stack.supervisor.services if s.name in stack.workers]

    def look() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            for worker in workers:
                try:
                    for process in psutil.Process(worker).children(recursive=True):
                        largest[0] = max(largest[0], process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield largest
    finally:
        ended.set()
        thread.join()
