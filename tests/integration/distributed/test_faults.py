"""Workers, scheduler, S3, broker and database are killed at random instants while eleven months are
scored.

A round scores all months, with another model than the round before, while each of the five is
killed once. ``make soak`` does more rounds than ``make test``, and writes its table into
docs/reliability.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest

from tests.integration.airflow_under_test import HANG_SECONDS
from tests.integration.distributed import faults, jobs, soak
from tests.integration.distributed.cluster import Cluster, Task
from tests.integration.distributed.faults import Fault, Figures

JOB = "eleven_months"
DESTINATION = f"predictions/{JOB}"
ROUND_SECONDS = HANG_SECONDS  # it takes one or two minutes
REFUSED = (
    "Celery Task Timeout Error"  # the scheduler's words when it could not send a task to the broker
)
TASKS = sum(2 + shards for shards in jobs.SHARDS.values())

Digests = dict[str, dict[str, str]]

# A fault is noticed in seconds, where an installation may take a minute or ten.  For this test
# only: on a busy machine, slow tasks are taken for dead that early, and tried again.
NOTICED_SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
}


@pytest.fixture
def impatient_scheduler(cluster: Cluster) -> Iterator[None]:
    before = cluster.service("scheduler").environment
    cluster.restart("scheduler", {**before, **NOTICED_SOON})
    yield
    cluster.restart("scheduler", before)


@pytest.fixture(scope="module")
def expected(cluster: Cluster) -> Digests:
    """Model version → month → digest of what the shell command publishes from the laptop's files."""
    scored = {
        version: cluster.score_on_laptop(JOB, jobs.ELEVEN, "--model-version", version)
        for version in ("v1", "v2")
    }
    return {
        version: {
            month: hashlib.sha256(data).hexdigest() for month, (data, _) in of_version.items()
        }
        for version, of_version in scored.items()
    }


@pytest.fixture
def reader(
    cluster: Cluster, expected: Digests, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that reads all months all the time; ``report.json`` has its figures."""
    digests = {month: [expected[v][month] for v in expected] for month in jobs.ELEVEN}
    (tmp_path / "digests.json").write_text(json.dumps(digests))
    store = cluster.stack.object_store
    command = [
        sys.executable, Path(__file__).with_name("reader.py"), store.endpoint_url, store.bucket,
        DESTINATION, tmp_path / "digests.json", tmp_path / "report.json",
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, **store.shell_environment})
    yield process
    process.kill()
    process.wait()


@pytest.mark.timeout((1 + soak.rounds()) * ROUND_SECONDS)
def test_nothing_is_lost_or_half_there_whatever_dies(
    cluster: Cluster,
    impatient_scheduler: None,
    expected: Digests,
    reader: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    rounds, seed = soak.rounds(), soak.seed()
    print(f"\n{rounds} rounds, seed {seed}")
    chance, figures = random.Random(seed), Figures()
    try:
        for number in range(rounds):
            version = ("v1", "v2")[number % 2]
            last_event = newest_event(cluster)
            if (
                number == 0
            ):  # the first months are made by catchup, with the version that is in force
                cluster.unpause(JOB)
            else:
                score_again(cluster, version)
            play(cluster, chance, figures)
            cluster.succeeded(JOB, len(jobs.ELEVEN))
            assert_published(cluster, figures, expected[version])
            assert_one_event_each(cluster, last_event, expected[version])
            assert reader.poll() is None
            report = json.loads((tmp_path / "report.json").read_text())
            figures.reads, figures.bad_reads = report["reads"], report["bad"]
            print(f"round {number + 1}: {summary_of(figures.faults[-len(faults.KINDS) :])}")
            soak.write(figures.table(), number + 1, seed)
    finally:
        print(figures.table())
    assert figures.bad_reads == []
    assert figures.reads > 100 * rounds
    assert Counter(fault.kind for fault in figures.faults) == dict.fromkeys(faults.KINDS, rounds)
    assert (figures.months, figures.rows_lost) == (rounds * len(jobs.ELEVEN), 0)


def test_a_broker_that_is_away_for_long_costs_no_task_a_try(cluster: Cluster) -> None:
    job, sendings = "without_broker", 10
    cluster.wait_for(f"Dag {job}", lambda: cluster.api.dag(job))
    log = cluster.home.logs / "scheduler.log"
    before = log.read_text().count(REFUSED)
    faults.kill(cluster, "Valkey", random.Random())
    cluster.api.unpause(job)
    deadline = time.monotonic() + ROUND_SECONDS
    while log.read_text().count(REFUSED) < before + sendings:  # nobody starts it again meanwhile
        assert time.monotonic() < deadline, "the scheduler has stopped sending"
        time.sleep(0.2)
    cluster.succeeded(job, 1)
    assert {(t.state, t.try_number) for t in cluster.tasks(job)} == {("success", 1)}


def score_again(cluster: Cluster, version: str) -> None:
    # What a timer of the scheduler does half a minute after the last run of a backfill.
    cluster.database.execute("UPDATE backfill SET completed_at = now()")
    cluster.airflow(
        "backfill", "create", "--dag-id", JOB, "--from-date", "2013-02-01", "--to-date", "2013-12-31",
        "--reprocess-behavior", "completed", "--dag-run-conf", json.dumps({"model_version": version}),
    )  # fmt: skip


def play(cluster: Cluster, chance: random.Random, figures: Figures) -> None:
    """A kill of each kind, in any order, each when so many tasks have succeeded as chance has it."""
    kinds = chance.sample(faults.KINDS, len(faults.KINDS))
    instants = sorted(chance.sample(range(int(TASKS * 0.9)), len(kinds)))
    deadline = time.monotonic() + ROUND_SECONDS
    of_round: list[Fault] = []
    while tasks := look(cluster, deadline):
        done = sum(task.state == "success" for task in tasks)
        for fault in of_round:
            fault.look(tasks)
        if kinds and done >= instants[0]:
            cluster.supervisor.watch(chance.uniform(0, 1))
            at_work = [
                task for task in look(cluster, deadline) if task.state in ("running", "queued")
            ]
            if not at_work:  # between two tasks
                continue
            kind = kinds.pop(0)
            instants.pop(0)
            of_round.append(Fault(kind, time.monotonic(), at_work))
            faults.kill(cluster, kind, chance)
            time.sleep(chance.uniform(0, faults.LONGEST_OUTAGE_SECONDS))  # it is down
        if not kinds and done == TASKS:
            break
    figures.faults += of_round


def look(cluster: Cluster, deadline: float) -> list[Task]:
    """The tasks of all runs; the processes that have died are started meanwhile."""
    while True:
        cluster.supervisor.watch(0.2)
        try:
            tasks = cluster.tasks(JOB)
        except psycopg2.OperationalError:
            tasks = []
        assert "failed" not in {task.state for task in tasks}, cluster.why_failed(JOB)
        if tasks:
            return tasks
        assert time.monotonic() < deadline, "the database does not come back"


def assert_published(cluster: Cluster, figures: Figures, digests: dict[str, str]) -> None:
    """Each month once, with the undisturbed bytes, and nothing beside what is published."""
    wanted = {"_columns.arrow"}
    for month, digest in digests.items():
        data, manifest = cluster.published(DESTINATION, month)
        assert hashlib.sha256(data).hexdigest() == digest, month
        rows = manifest["rows"]
        published = pq.read_table(io.BytesIO(data), columns=["flight"])["flight"]
        quarantined = pq.read_table(io.BytesIO(cluster.get(key_of(manifest["quarantine"]))))[
            "flight"
        ]
        ids = set(published.to_pylist()) | set(quarantined.to_pylist())
        assert (rows["scored"], rows["quarantined"]) == (len(published), len(quarantined)), month
        assert rows["in"] == jobs.ROWS[month]
        figures.rows_lost += jobs.ROWS[month] - len(ids)
        figures.months += 1
        wanted |= {f"month={month}/predictions.parquet", f"_manifests/month={month}.json"}
        wanted.add(key_of(manifest["quarantine"]).removeprefix(f"{DESTINATION}/"))
    found = {key.removeprefix(f"{DESTINATION}/") for key in cluster.objects(DESTINATION)}
    assert found == wanted
    assert cluster.uploads() == []


def key_of(record: dict[str, Any]) -> str:
    return str(record["uri"]).partition("s3://scoring/")[2]


def newest_event(cluster: Cluster) -> int:
    ((newest,),) = cluster.database.execute("SELECT coalesce(max(id), 0) FROM asset_event")
    return int(newest)


def assert_one_event_each(cluster: Cluster, after: int, digests: dict[str, str]) -> None:
    """Assert that the asset has one event for each month, with the digest of what lies there."""
    rows = cluster.database.execute(
        f"SELECT extra FROM asset_event WHERE source_dag_id = '{JOB}' AND id > {after}"
    )
    events = [(extra["partition"], extra["sha256"]) for (extra,) in rows]
    assert sorted(events) == sorted(digests.items())


def summary_of(of_round: list[Fault]) -> str:
    return ", ".join(f"{f.kind} {f.seconds:.0f} s ({len(f.at_work)} at work)" for f in of_round)
