"""From the creation of a backfill to the last of eleven real months published, and its parts.

Starts what ``make run`` starts, in a folder of its own, lets catchup score the months once, and
then scores them all again with ``airflow backfill create --reprocess-behavior completed``. The
clock starts when Airflow notes that the backfill was created and stops when the last manifest is
written.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

MONTHS = 11
DEADLINE_SECONDS = 300
# Airflow closes a finished backfill by a timer of 30 s, and has one backfill a Dag at a time.
BETWEEN_SECONDS = 60


def run(home: Path, rounds: int) -> dict[str, object]:
    """Return ``rounds`` backfills one after the other on one running Airflow; all their figures."""
    with _airflow(home):
        measured = [_one_backfill(home) for _ in range(rounds)]
    seconds = sorted(float(m["seconds"]) for m in measured)
    return {
        "months": MONTHS,
        "seconds": {"median": seconds[len(seconds) // 2], "all": seconds},
        "rounds": measured,
    }


@contextmanager
def _airflow(home: Path) -> Iterator[None]:
    """Yield a running ``make run`` with all months scored."""
    command = [sys.executable, "-m", "devstack", "--home", str(home), "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print("   ", line.rstrip(), file=sys.stderr)
            if line.startswith("web UI"):
                break
        else:
            raise SystemExit("error: `make run` did not get Airflow up; see its lines above")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _one_backfill(home: Path) -> dict[str, Any]:
    environment = _environment(home)
    with psycopg2.connect(_database(environment)) as connection:
        backfill, created = _create_backfill(environment, connection)
        manifests = home / "data/predictions/flight_delay/_manifests"
        last = _wait_until_published(manifests, created)
        return {"seconds": round(last - created, 2), **_parts(connection, backfill, manifests)}


def _create_backfill(environment: dict[str, str], connection: Any) -> tuple[int, float]:
    """Return the id of a new backfill of all months, and the moment of its creation by Airflow's
    own note.
    """
    command = [
        str(Path(sys.executable).with_name("airflow")), "backfill", "create",
        "--dag-id", "flight_delay", "--from-date", "2013-02-01", "--to-date", "2013-12-31",
        "--reprocess-behavior", "completed", "--max-active-runs", "4",
    ]  # fmt: skip
    deadline = time.monotonic() + BETWEEN_SECONDS
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        if "AlreadyRunningBackfill" not in done.stderr or time.monotonic() > deadline:
            raise SystemExit(f"error: airflow backfill create failed:\n{done.stderr[-2000:]}")
    query = "SELECT id, extract(epoch FROM created_at) FROM backfill ORDER BY id DESC LIMIT 1"
    number, created = _rows(connection, query)[0]
    return int(number), float(created)


def _wait_until_published(manifests: Path, created: float) -> float:
    """Return the moment at which the last month was published."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        times = [file.stat().st_mtime for file in manifests.glob("month=????-??.json")]
        if len(times) == MONTHS and min(times) > created:
            return max(times)
        time.sleep(0.1)
    raise SystemExit(f"error: not all months were published within {DEADLINE_SECONDS} s")


def _parts(connection: Any, backfill: int, manifests: Path) -> dict[str, Any]:
    """Return where the time went: before the first task, in tasks, and in the library's own work."""
    query = """
        SELECT t.task_id, extract(epoch FROM t.start_date - b.created_at), t.duration,
               extract(epoch FROM t.start_date - t.queued_dttm)
        FROM task_instance t JOIN dag_run r USING (dag_id, run_id)
        JOIN backfill b ON b.id = r.backfill_id WHERE r.backfill_id = %s AND t.start_date IS NOT NULL
    """
    rows = [
        (t, float(s), float(d or 0), float(q or 0))
        for t, s, d, q in _rows(connection, query, backfill)
    ]
    work = {"extract": 0.0, "score": 0.0, "upload": 0.0}
    for file in manifests.glob("month=????-??.json"):
        for step, seconds in json.loads(file.read_text())["durations_seconds"].items():
            work[step] += seconds
    return {
        "tasks": len(rows),
        "seconds_to_first_task": round(min(start for _, start, _, _ in rows), 2),
        "seconds_queued_per_task": round(sum(q for *_, q in rows) / len(rows), 2),
        "seconds_in_tasks": {
            step: round(sum(d for t, _, d, _ in rows if t == step), 2) for step in work
        },
        "of_it_seconds_of_work": {step: round(seconds, 2) for step, seconds in work.items()},
    }


def _rows(connection: Any, query: str, *values: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    connection.rollback()
    return rows


def _environment(home: Path) -> dict[str, str]:
    """Return what ``. airflow.env`` gives a shell."""
    shell = f". {home / 'airflow.env'} && exec env -0"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, check=True, env=os.environ)
    entries = (entry.partition("=") for entry in done.stdout.decode().split("\0") if entry)
    return {name: value for name, _, value in entries}


def _database(environment: dict[str, str]) -> str:
    url = environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    return url.replace("postgresql+psycopg2://", "postgresql://")
