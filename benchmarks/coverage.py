"""Coverage of 20 jobs over ten years in S3: a first look, the next one, bare listings, and the page
of Airflow's web UI that shows it.

The objects are made here: one month is really scored, and its manifest, with another partition in
it, stands for those of all months.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks.big_month import make_job
from benchmarks.measure import timed
from devstack.commands import session
from devstack.home import Home
from devstack.secrets import load_or_create
from devstack.services import object_store

JOBS, FIRST_YEAR, YEARS = 20, 2010, 10
PREFIX = "coverage-bench"
MONTH = "2013-05"
STUB = b"as many bytes as the listing has to name"
THREADS = 8

_LOOK = """
import collections, json, sys, time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

started = time.perf_counter()
from scoring.job.loader import load_job
from scoring.monitoring.coverage import coverage, finished_partitions
from scoring.monitoring.source_changes import SourceListings
from scoring.storage.connections import Connections
import scoring.storage.s3.storage, scoring.destinations.parquet
imported = time.perf_counter() - started

folder, year, root, threads = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
now, connections = datetime(year, 1, 3, tzinfo=timezone.utc), Connections()
files = [load_job(path) for path in sorted(folder.glob("*.yaml"))]

def look():
    started, listings = time.perf_counter(), SourceListings()
    def of(file):
        finished = finished_partitions(file.job, now)
        return coverage(file, file.roots(root), connections, finished, listings=listings)

    with ThreadPoolExecutor(threads) as pool:
        found = [one for every in pool.map(of, files) for one in every]
    return time.perf_counter() - started, collections.Counter(one.state for one in found)

def listed(prefix):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return sum(len(page.get("Contents", [])) for page in pages)

first, published = look()
then, again = look()
import boto3
client, (bucket, _, prefix) = boto3.client("s3"), root.removeprefix("s3://").partition("/")
listed(f"{prefix}/flights/")
started = time.perf_counter()
with ThreadPoolExecutor(threads) as pool:
    places = [f"{prefix}/out/{file.job.name}/" for file in files]
    list(pool.map(listed, [*places, f"{prefix}/flights/"]))
bare = time.perf_counter() - started
print(json.dumps({"imports": imported, "first_look": first, "next_look": then,
                  "bare_listings": bare, "published": [published, again]}))
"""

_PAGE = """
import json, statistics, sys, time
from pathlib import Path
from airflow.utils.db import initdb
initdb()
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from scoring.job.loader import load_job
from scoring_airflow import job_dag

dags = [job_dag(load_job(path)) for path in sorted(Path(sys.argv[1]).glob("*.yaml"))]
DagBundlesManager().sync_bundles_to_db()
with create_session() as session:
    stored = [LazyDeserializedDAG.from_dag(dag) for dag in dags]
    update_dag_parsing_results_in_db("dags-folder", None, stored, {}, 0.0, set(), session)
app = create_app(apps="core")
user = SimpleAuthManagerUser(username="bench", role="ADMIN", teams=None)
cookie = {"Cookie": f"_token={get_auth_manager().generate_jwt(user)}"}
client = TestClient(app, base_url="http://airflow.example", headers=cookie)

def get():
    started = time.perf_counter()
    answer = client.get("/scoring/")
    took = time.perf_counter() - started
    assert answer.status_code == 200 and "job19" in answer.text, answer.text[:2000]
    return took, len(answer.content)

first, size = get()
print(json.dumps({"first": first, "next": statistics.median(get()[0] for _ in range(7)),
                  "bytes": size}))
"""


def run(data: Path, job_file: Path, folder: Path, rounds: int) -> dict[str, object]:
    """Measure each look in a process of its own, ``rounds`` times; return the figures."""
    place = folder / "coverage"
    home = Home(place / "run")
    with session.supervised(home, "the benchmark", _say) as supervisor:
        store = object_store.start(home, load_or_create(home.secrets), supervisor)
        root = f"s3://{store.bucket}/{PREFIX}"
        jobs = _make_jobs(job_file, place)
        manifest = _scored(job_file, data, place)
        _publish(object_store.client(store), store.bucket, jobs, manifest)
        environment = os.environ | store.shell_environment
        command = [
            sys.executable,
            "-c",
            _LOOK,
            str(jobs),
            str(FIRST_YEAR + YEARS),
            root,
            str(THREADS),
        ]
        _look(command, environment)  # which makes the indexes
        looks = [_look(command, environment) for _ in range(rounds)]
        page = _page(jobs, place / "airflow", environment | {"SCORING_DATA": root})
    return {
        "jobs": JOBS,
        "partitions": JOBS * YEARS * 12,
        "looks": looks,
        "ratio_to_bare_listings": {
            name: sorted(round(look[name] / look["bare_listings"], 2) for look in looks)
            for name in ("first_look", "next_look")
        },
        "page": page,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _answer(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Return the JSON in the last line that ``command`` prints."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: a look failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _look(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    look = _answer(command, environment)
    if (states := look.pop("published")) != [{"published": JOBS * YEARS * 12}] * 2:
        raise SystemExit(f"error: not all partitions are published: {states}")
    return {name: round(seconds, 3) for name, seconds in look.items()}


def _page(jobs: Path, home: Path, environment: dict[str, str]) -> dict[str, float]:
    """Return how long the coverage page takes, at first and then, in an Airflow of its own."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    found = _answer([sys.executable, "-c", _PAGE, str(jobs)], environment | settings)
    return {name: round(value, 3) for name, value in found.items()}


def _make_jobs(job_file: Path, place: Path) -> Path:
    """Return the folder of the job files: the flight_delay job under other names, over ten years."""
    jobs = place / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    job = yaml.safe_load(job_file.read_text(encoding="utf-8"))
    job |= {"start": f"{FIRST_YEAR}-01", "end": f"{FIRST_YEAR + YEARS - 1}-12"}
    job["model"]["versions"] = [job["model"]["versions"][0] | {"in_force_from": job["start"]}]
    for number in range(JOBS):
        name = f"job{number:02d}"
        named = job | {"name": name, "destination": {"uri": f"{{data}}/out/{name}"}}
        (jobs / f"{name}.yaml").write_text(yaml.safe_dump(named, sort_keys=False))
    return jobs


def _scored(job_file: Path, data: Path, place: Path) -> dict[str, Any]:
    """Return the manifest of a month that is scored here."""
    job = make_job(
        job_file, "{data}/flights/year={year}/month={month}/flights.parquet", place, str(place)
    )
    job.write_text(job.read_text(encoding="utf-8").replace(", copy]", "]"))
    command = [
        sys.executable,
        "-m",
        "scoring",
        "run",
        str(job),
        MONTH,
        "--data",
        str(data),
        "--json",
    ]
    manifest: dict[str, Any] = json.loads(timed(command).stdout)
    return manifest


def _months() -> Iterator[tuple[int, int]]:
    for year in range(FIRST_YEAR, FIRST_YEAR + YEARS):
        yield from ((year, month) for month in range(1, 13))


def _sources(client: Any, bucket: str) -> dict[tuple[int, int], dict[str, Any]]:
    """Put a source file for each month; return what a manifest says of each."""

    def put(month: tuple[int, int]) -> dict[str, Any]:
        key = f"{PREFIX}/flights/year={month[0]}/month={month[1]:02d}/flights.parquet"
        done = client.put_object(Bucket=bucket, Key=key, Body=STUB)
        uri, etag = f"s3://{bucket}/{key}", done["ETag"].strip('"')
        return {"uri": uri, "bytes": len(STUB), "sha256": None, "etag": etag}

    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip(_months(), threads.map(put, _months()), strict=True))


def _publish(client: Any, bucket: str, jobs: Path, manifest: dict[str, Any]) -> None:
    """Put predictions and a manifest for each month of each job."""
    sources = _sources(client, bucket)

    def put(one: tuple[Path, tuple[int, int]]) -> None:
        job, (year, month) = one
        key, prefix = f"{year}-{month:02d}", f"{PREFIX}/out/{job.stem}"
        output = f"{prefix}/month={key}/predictions.parquet"
        said = manifest | {
            "job": job.stem,
            "job_sha256": hashlib.sha256(job.read_bytes()).hexdigest(),
            "partition": key,
            "source": manifest["source"] | {"files": [sources[year, month]]},
            "output": manifest["output"] | {"uri": f"s3://{bucket}/{output}", "bytes": len(STUB)},
        }
        client.put_object(Bucket=bucket, Key=output, Body=STUB)
        text = json.dumps(said, indent=2)
        client.put_object(Bucket=bucket, Key=f"{prefix}/_manifests/month={key}.json", Body=text)

    of_each = [(job, month) for job in sorted(jobs.glob("*.yaml")) for month in _months()]
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(put, of_each))
