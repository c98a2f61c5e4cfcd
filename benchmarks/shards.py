"""A month of many shards on Celery workers: on one and on two of them, and what a huge one takes.

Starts what ``make stack`` starts, with the month in its S3 service. Each worker has one task at a
time, and one thread for it: one core of two, so that the second worker brings the second core. What
one worker does with both cores, two threads a task, is shown too. The figure to compare is the time
from the first ``score`` task's start to the last one's end.

Of the huge month, time and memory of each step are kept in ``figures/scale.json``, with the bytes that
it leaves in S3 and in Airflow's database: `python -m benchmarks scale` plans larger ones from them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from benchmarks.big_month import MONTH, make_job, make_month
from benchmarks.scale import SHARD_ROWS
from devstack.airflow.api import NotReachable
from devstack.airflow.environment import S3_CONNECTION
from devstack.commands.stack import Stack, StackOptions, running
from devstack.home import Home
from devstack.services import object_store
from scoring.contract.duplicates import ENTRY

JOB = "big_month"
STEPS = ("extract", "score", "upload")
SAMPLE_SECONDS = 0.2
DEADLINE_SECONDS = 7200
TASK = "airflow worker -- "  # what Airflow calls the process of a task, before its id

# What pyarrow holds of the row groups that it has written, until it writes them into the footer.
_ROW_GROUPS = """
import sys
import pyarrow.parquet as pq
schema, count = pq.read_schema(sys.argv[1]), int(sys.argv[2])
rows = pq.read_table(sys.argv[1]).slice(0, 2)
def used():  # not getrusage, which begins with the peak of the process that has started this one
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
with pq.ParquetWriter("/dev/null", schema, store_schema=False) as writer:
    writer.write_table(rows)
    before = used()
    for _ in range(count):
        writer.write_table(rows)
print((used() - before) // count)
"""

SHARDS = 10
"""Of the month that is measured with one worker and with two."""

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
    """Measure the same month of ``rows`` in each of ``PLACES``, ``rounds`` times; and a huge one. 0 rows
    leave either out.
    """
    flights = data / "flights/year=2013/month=05/flights.parquet"
    model = data / "models/flight_delay/v1.skops"
    figures = _pairs(flights, model, dags, folder, rows, rounds) if rows else {}
    if huge_rows:
        huge = make_month(flights, folder, huge_rows)
        of_huge = _scored(dags, huge, model, folder, PLACES["two_workers"], SHARD_ROWS, huge=True)
        figures["huge_month"] = {"rows": huge_rows, **of_huge}
    return figures


def _pairs(flights: Path, model: Path, dags: Path, folder: Path, rows: int, rounds: int) -> Figures:
    source = make_month(flights, folder, rows)
    measured: dict[str, list[Figures]] = {name: [] for name in PLACES}
    for _ in range(rounds):
        for name, place in PLACES.items():
            measured[name].append(_scored(dags, source, model, folder, place, rows // SHARDS))
            print("   ", name, measured[name][-1], file=sys.stderr)
    seconds = {name: [of["score_seconds"] for of in measured[name]] for name in PLACES}
    ratios = [
        round(two / one, 3)
        for one, two in zip(seconds["one_worker"], seconds["two_workers"], strict=True)
    ]
    return {
        "rows": rows,
        "score_seconds": seconds,
        "ratio_two_to_one": ratios,
        "median_ratio": statistics.median(ratios),
    }


def _scored(
    dags: Path,
    source: Path,
    model: Path,
    folder: Path,
    place: Place,
    shard_rows: int,
    huge: bool = False,
) -> Figures:
    """Score the month of ``source`` on a stack of its own; return seconds of its tasks, and of a
    ``huge`` one all that its run shows besides.

    Looking at its tasks takes a little of what they have: two workers beside one are measured without.
    """
    home = Home(folder / "stack")
    shutil.rmtree(home.root, ignore_errors=True)
    jobs = _dags(dags, folder / "stack-dags", shard_rows)
    cores = {"LOKY_MAX_CPU_COUNT": str(place.cores)}
    options = StackOptions(home, jobs, workers=place.workers, tasks_per_worker=1, settings=cores)
    with running(options, lambda text: None) as stack:
        s3 = object_store.client(stack.object_store)
        s3.upload_file(str(source), stack.object_store.bucket, "flights.parquet")
        s3.upload_file(str(model), stack.object_store.bucket, "models/flight_delay/v1.skops")
        _let_airflow_score(stack)
        if not huge:
            _wait_until_scored(stack)
            return _seconds(stack)
        bucket = Bucket(s3, stack.object_store.bucket)
        with _tasks(stack) as tasks:
            _wait_until_scored(stack, bucket)
        return {
            "workers": place.workers,
            **_seconds(stack),
            **_of_tasks(stack, tasks),
            **_published(bucket, folder),
            "source_bytes": source.stat().st_size,
            "staged_bytes_at_the_peak": bucket.staged_at_the_peak,
            **_xcoms(stack),
        }


def _dags(dags: Path, folder: Path, shard_rows: int) -> Path:
    """Write the loader and the one job, with all URIs in the bucket."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "jobs").mkdir(parents=True)
    shutil.copy(dags / "scoring_jobs.py", folder)
    job = make_job(
        dags / "jobs/flight_delay.yaml", "{data}/flights.parquet", folder / "jobs", "{data}"
    )
    run = f"aws_conn_id: {S3_CONNECTION}, retries: 0, shard_rows: {shard_rows}"
    settings = f"end: {MONTH}\nrun: {{{run}}}\n"
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


def _wait_until_scored(stack: Stack, bucket: Bucket | None = None) -> None:
    """Wait until the month's run has ended, by asking the database, which costs the machine least;
    look at what is staged in ``bucket`` meanwhile.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        stack.supervisor.watch(2)
        if bucket is not None:
            bucket.look()
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


@dataclass
class Task:
    """The largest resident memory of a task's process, and its CPU seconds when it was seen last."""

    bytes: int = 0
    cpu_seconds: float = 0.0


@contextmanager
def _tasks(stack: Stack) -> Iterator[dict[str, Task]]:
    """Yield, filled in meanwhile, what the process of each task takes, by the id of the task."""
    found: dict[str, Task] = {}
    ended = threading.Event()
    workers = [s.process.pid for s in stack.supervisor.services if s.name in stack.workers]

    def look() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    for process in psutil.Process(worker).children(recursive=True):
                        _look_at(process, found)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _look_at(process: psutil.Process, found: dict[str, Task]) -> None:
    with suppress(psutil.NoSuchProcess):
        title = " ".join(process.cmdline())
        if title.startswith(TASK):
            task = found.setdefault(title.removeprefix(TASK).strip(), Task())
            task.bytes = max(task.bytes, process.memory_info().rss)
            task.cpu_seconds = sum(process.cpu_times()[:2])


def _of_tasks(stack: Stack, tasks: dict[str, Task]) -> Figures:
    """Return the largest memory of a task of each step, and the CPU seconds of all."""
    steps = dict(stack.database.execute("SELECT id::text, task_id FROM task_instance"))
    seen = [(steps[number], task) for number, task in tasks.items() if number in steps]
    return {
        "tasks_seen": len(seen),
        "largest_task_mb": {
            step: round(max((t.bytes for of, t in seen if of == step), default=0) / 1e6)
            for step in STEPS
        },
        "cpu_seconds": {
            step: round(sum(t.cpu_seconds for of, t in seen if of == step), 2) for step in STEPS
        },
    }


@dataclass
class Bucket:
    """The bucket of the stack; ``staged_at_the_peak`` is in bytes."""

    client: Any
    name: str
    staged_at_the_peak: int = 0

    def look(self) -> None:
        """Sum up what is staged now: a request for each 1,000 objects."""
        staged = sum(o["Size"] for o in self._objects() if "/_staging/" in o["Key"])
        self.staged_at_the_peak = max(self.staged_at_the_peak, staged)

    def fetch(self, suffix: str, file: Path) -> Path:
        """Write the one published object of the month whose key ends with ``suffix`` to ``file``."""
        (key,) = [o["Key"] for o in self._objects() if o["Key"].endswith(suffix)]
        self.client.download_file(self.name, key, str(file))
        return file

    def _objects(self) -> Iterator[Figures]:
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix="predictions/"):
            yield from page.get("Contents", [])


def _published(bucket: Bucket, folder: Path) -> Figures:
    """Return what is published and what the library's own work has taken, from the manifest and the
    file."""
    record = bucket.fetch(f"/_manifests/month={MONTH}.json", folder / "manifest.json")
    manifest = json.loads(record.read_text(encoding="utf-8"))
    file = bucket.fetch(f"/month={MONTH}/predictions.parquet", folder / "published.parquet")
    footer, rows = pq.read_metadata(file), manifest["rows"]
    few = folder / "published-rows.parquet"
    pq.write_table(pq.ParquetFile(file).read_row_group(0).slice(0, 2), few, store_schema=False)
    held = subprocess.run(
        [sys.executable, "-c", _ROW_GROUPS, few, "10000"], capture_output=True, check=True
    )
    file.unlink()
    return {
        "rows_published": rows["scored"],
        "published_bytes": manifest["output"]["bytes"],
        "columns": footer.num_columns,
        "row_groups": footer.num_row_groups,
        "footer_bytes": footer.serialized_size,
        "bytes_held_of_a_row_group": int(held.stdout),
        "row_id_index_bytes": (rows["in"] - rows["quarantined"]) * ENTRY.itemsize,
        "work_seconds": {s: round(manifest["durations_seconds"][s], 2) for s in STEPS},
    }


def _xcoms(stack: Stack) -> Figures:
    """Return what the tasks of each step have left in Airflow's database for others."""
    query = (
        "SELECT task_id, count(*), sum(octet_length(value::text)), max(octet_length(value::text)) "
        "FROM xcom GROUP BY task_id"
    )
    found = {task: of for task, *of in stack.database.execute(query)}
    return {
        "xcom_rows": {step: int(found[step][0]) for step in STEPS},
        "xcom_bytes": {step: int(found[step][1]) for step in STEPS},
        "largest_xcom_bytes": max(int(most) for _, _, most in found.values()),
    }
