"""Small real things for the tests of ``scoring``: months of rows, models, job files, runs.

The sample job scores ``x`` with a linear model; its ids are ``id``.  A test says only what differs.
"""

from __future__ import annotations

import hashlib
import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import skops.io
import yaml
from sklearn.linear_model import LinearRegression

from scoring.destinations.layout import Layout
from scoring.destinations.manifest import Manifest
from scoring.job.loader import JobFile, load_job
from scoring.pipeline.challengers import find_challengers
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.extract import extract
from scoring.pipeline.handover import Extraction, Scored
from scoring.pipeline.publish import publish
from scoring.pipeline.score import score
from tests.s3_server import connections
from tests.small_job import merged

MONTH = "2013-02"

JOB: dict[str, Any] = {
    "name": "sample",
    "schedule": "0 3 2 * *",
    "start": "2013-02",
    "source": {"uri": "{data}/source/{partition}.parquet"},
    "row_id": ["id"],
    "inputs": {"x": {"type": "float64"}},
    "model": {
        "versions": [{"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}]
    },
    "output": {"prediction": "y"},
    "destination": {"uri": "{data}/out"},
    "checks": {"max_quarantined_fraction": 1.0},
    "run": {"shard_rows": 1000},
}


def linear(slope: float = 2.0, columns: tuple[str, ...] = ("x",)) -> LinearRegression:
    """A model that predicts ``slope`` times the sum of ``columns``."""
    rows = np.eye(len(columns)) * 4.0
    frame = pd.DataFrame(np.vstack([rows, np.zeros(len(columns))]), columns=list(columns))
    return LinearRegression().fit(frame, slope * frame.sum(axis=1))


def save(model: Any, path: Path) -> str:
    """Saves a model as its file's name says, and returns the file's digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, path) if path.suffix == ".joblib" else skops.io.dump(model, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(count: int, **columns: Any) -> pa.Table:
    """``count`` good rows: ids from 1, x = id; ``columns`` replaces or adds."""
    ids = list(range(1, count + 1))
    return pa.table({"id": ids, "x": [float(i) for i in ids], **columns})


class Place:
    """A folder of one test, with a source, models and job files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.out = self.data / "out"

    def source(self, table: pa.Table, name: str = f"{MONTH}.parquet", **options: Any) -> Path:
        path = self.data / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, **options)
        return path

    def csv(self, text: str | bytes, name: str = f"{MONTH}.csv") -> Path:
        path = self.data / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def model(self, model: Any = None, name: str = "v1.skops") -> str:
        return save(linear() if model is None else model, self.data / "models" / name)

    def scorer(self, code: str, name: str = "scorer.py") -> str:
        (self.folder / name).write_text(code)
        return name

    def job(self, **changes: Any) -> JobFile:
        """The sample job with ``changes``; a value of None leaves the key out."""
        path = self.folder / "sample.yaml"
        path.write_text(yaml.safe_dump(merged(JOB, changes), sort_keys=False))
        return load_job(path)

    def run(
        self, job: JobFile | None = None, key: str = MONTH, attempt: str = "a"
    ) -> PartitionContext:
        job = job or self.job()
        return PartitionContext(
            job, job.job.parse(key), job.roots(str(self.data)), attempt, connections()
        )

    def files(self) -> list[str]:
        """Every file under the destination, hidden ones too."""
        found = (path for path in self.out.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.out).as_posix() for path in found)


def layout(run: PartitionContext) -> Layout:
    """Where everything of the run's job is published."""
    return Layout(run.publisher.uri)


def in_s3(place: Place, attempt: str = "a", **changes: Any) -> PartitionContext:
    """A run of the sample job on the copy of ``place`` in the bucket."""
    job = place.job(**changes)
    roots = job.roots("s3://scoring/lake")
    return PartitionContext(job, job.job.parse(MONTH), roots, attempt, connections())


def in_shards_of(job_file: JobFile, shard_rows: int) -> JobFile:
    """The job with smaller shards than a job file may say, so that a test needs few rows."""
    smaller = job_file.job.run.model_copy(update={"shard_rows": shard_rows})
    return replace(job_file, job=job_file.job.model_copy(update={"run": smaller}))


def extracted(run: PartitionContext, pinned: str | None = None) -> Extraction:
    model = run.model_file(pinned)
    return extract(run, model, challengers=find_challengers(run, model))


def scored(run: PartitionContext, extraction: Extraction) -> list[Scored]:
    model, others = extraction.model, extraction.challengers.files
    return [score(run, shard, model, challengers=others) for shard in extraction.shards]


def run_steps(run: PartitionContext, pinned: str | None = None) -> Manifest:
    """The three steps one after the other, as Airflow's tasks take them, in this process."""
    extraction = extracted(run, pinned)
    return publish(run, scored(run, extraction), {"by": "test"})


def predictions(manifest: Manifest) -> pa.Table:
    return pq.ParquetFile(manifest.output.uri).read()


def quarantine(manifest: Manifest) -> pa.Table:
    assert manifest.quarantine is not None
    return pq.ParquetFile(manifest.quarantine.uri).read()


def reasons(manifest: Manifest) -> dict[int, tuple[str, str | None]]:
    """For each quarantined row's number its reason and column."""
    if manifest.quarantine is None:
        return {}
    found = quarantine(manifest).to_pylist()
    return {row["row"]: (row["reason"], row["column"]) for row in found}


def in_process(function: Callable[[], Any]) -> int:
    """Calls ``function`` in a process of its own; returns its status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the child ends here
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def as_nobody(function: Callable[[], Any]) -> int:
    """Like ``in_process``, without the rights of root, whom no folder is closed to."""

    def without_rights() -> None:
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        function()

    return in_process(without_rights)
