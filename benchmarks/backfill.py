"""From the creation of a backfill to the last of eleven real months published, and its parts.

Starts what ``make run`` starts, in a folder of its own, lets catchup score the months once, and
then scores them all again with ``airflow backfill create --reprocess-behavior completed``. One clock
starts when Airflow notes that the backfill was created, another one with that command; both stop when
the last manifest is written. In turn with it, the same months are scored by a script and by
Prefect, while all processes of Airflow are suspended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import psycopg2

from benchmarks.measure import Timed, cpu_seconds, timed, watched
from benchmarks.peers.backfills import backfills
from benchmarks.real_flights import medians, save_models
from examples.paths import MODEL_VERSIONS

MONTHS = 11
DEADLINE_SECONDS = 300
AFTER_SUSPENSION_SECONDS = 15  # the processes of Airflow do first what they have missed
COMPARED = ("seconds", "wall_seconds", "cpu_seconds")


def run(home: Path, job_file: Path, folder: Path, rounds: int) -> dict[str, object]:
    """Measure ours and all peers in turn on one running Airflow, ``rounds`` times; all figures."""
    data, place = home / "data", folder / "peers"
    place.mkdir(parents=True, exist_ok=True)
    ours: list[dict[str, Any]] = []
    with _airflow(home) as airflow:
        save_models(data, job_file, place, MODEL_VERSIONS)
        peers = backfills(data, place)
        published = data / "predictions/flight_delay"
        with _suspended(airflow):
            for peer in peers:  # Prefect makes its database the first time
                peer.timed(published)
        found: dict[str, list[Timed]] = {peer.name: [] for peer in peers}
        for _ in range(rounds):
            ours.append(_one_backfill(home, airflow))
            with _suspended(airflow):
                for peer in peers:
                    found[peer.name].append(peer.timed(published))
        with watched(airflow) as peak:
            _one_backfill(home, airflow)
        with _suspended(airflow):
            sizes = {peer.name: peer.memory() for peer in peers}
    ours_figures = medians([{name: one[name] for name in COMPARED} for one in ours])
    return {
        "months": MONTHS,
        "programs": {
            "airflow backfill": ours_figures | peak.memory().figures(),
            **{
                name: medians([one.figures() for one in timed]) | sizes[name]
                for name, timed in found.items()
            },
        },
        "ratio_of_time": {
            name: {
                "from_the_note": _ratios([one["seconds"] for one in ours], of_peer),
                "from_the_command": _ratios([one["wall_seconds"] for one in ours], of_peer),
            }
            for name, of_peer in found.items()
        },
        "rounds": ours,
    }


def _ratios(ours: list[float], peer: list[Timed]) -> dict[str, object]:
    found = [round(one / other.wall_seconds, 3) for one, other in zip(ours, peer, strict=True)]
    return {"median": round(median(found), 3), "all": sorted(found)}


@contextmanager
def _suspended(root: int) -> Iterator[None]:
    """Suspend a process and all below it: an Airflow that only waits takes time from others, too."""
    process = psutil.Process(root)
    tree = [process, *process.children(recursive=True)]
    for one in tree:
        with suppress(psutil.NoSuchProcess):
            one.suspend()
    try:
        yield
    finally:
        for one in reversed(tree):
            with suppress(psutil.NoSuchProcess):
                one.resume()
    time.sleep(AFTER_SUSPENSION_SECONDS)


@contextmanager
def _airflow(home: Path) -> Iterator[int]:
    """Yield the process of a running ``make run`` with all months scored."""
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
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _one_backfill(home: Path, airflow: int) -> dict[str, Any]:
    environment = _environment(home)
    command = [
        str(Path(sys.executable).with_name("airflow")), "backfill", "create",
        "--dag-id", "flight_delay", "--from-date", "2013-02-01", "--to-date", "2013-12-31",
        "--reprocess-behavior", "completed", "--max-active-runs", "4",
    ]  # fmt: skip
    with psycopg2.connect(_database(environment)) as connection:
        _wait_until_closed(connection)
        before, started = cpu_seconds(airflow), time.time()
        created_by = timed(command, environment)
        query = "SELECT id, extract(epoch FROM created_at) FROM backfill ORDER BY id DESC LIMIT 1"
        number, created = _rows(connection, query)[0]
        manifests = home / "data/predictions/flight_delay/_manifests"
        last = _wait_until_published(manifests, float(created))
        used = cpu_seconds(airflow) - before + created_by.cpu_seconds
        return {
            "seconds": round(last - float(created), 2),
            "wall_seconds": round(last - started, 2),
            "cpu_seconds": round(used, 2),
            **_parts(connection, int(number), manifests),
        }


def _wait_until_closed(connection: Any) -> None:
    """Airflow closes a finished backfill by a timer of 30 s, and has one backfill a Dag at a time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while _rows(connection, "SELECT id FROM backfill WHERE completed_at IS NULL"):
        if time.monotonic() > deadline:
            raise SystemExit("error: Airflow does not close the backfill")
        time.sleep(0.5)


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
    others = """
        SELECT count(*) FROM task_instance, backfill b
        WHERE b.id = %s AND start_date > b.created_at AND task_instance.dag_id <> b.dag_id
    """
    return {
        "tasks": len(rows),
        "tasks_of_other_dags": int(_rows(connection, others, backfill)[0][0]),
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
