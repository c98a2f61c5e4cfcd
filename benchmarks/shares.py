"""Which part of a month costs which share of the CPU: the three steps in one process, one after the other.

A part is some functions; what one of them calls counts for the innermost part. ``--code``: an older checkout, to
see what that one did; a function that it does not have is left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARTS = {
    "read the source": [
        "scoring.sources.parquet:ParquetSource.read",
        "scoring.sources.rechunk:_joined",
        "scoring.storage.local:LocalStorage.sha256",
    ],
    "check the contract": ["scoring.pipeline.checked_rows:RowChecker.check"],
    "hash row ids": ["scoring.arrow.hashing:hash_rows"],
    "find repeated row ids": [
        "scoring.contract.duplicates:RowIdIndex.add",
        "scoring.contract.duplicates:RowIdIndex._buckets",
    ],
    "statistics": ["scoring.monitoring.statistics:Counts.add"],
    "stage: write": [
        "scoring.pipeline.staging:StagedWriter.write",
        "scoring.pipeline.staging:StagedWriter.close",
    ],
    "stage: read and verify": ["scoring.pipeline.staging:_check_digest"],
    "load the model": ["scoring.models.prepare:prepare_model"],
    "features for the model": ["scoring.engine:_features"],
    "encode text": ["sklearn.compose:ColumnTransformer.transform"],
    "trees": [
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting:BaseHistGradientBoosting._predict_iterations",
        "scoring.models.trees.exact:ExactTrees.add",
    ],
    "write parquet": ["scoring.destinations.parquet:ParquetPublication.write"],
}
REST = "the rest"


class Shares:
    """CPU seconds by part, each function's without those of the parts that it calls."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._parts = [REST]
        self._since = time.process_time()

    def _enter(self, part: str) -> None:
        self._count()
        self._parts.append(part)

    def _leave(self) -> None:
        self._count()
        self._parts.pop()

    def _count(self) -> None:
        now = time.process_time()
        self.seconds[self._parts[-1]] += now - self._since
        self._since = now

    def watch(self, part: str, name: str) -> None:
        """Count the calls of the function ``name`` for ``part``."""
        module, _, path = name.partition(":")
        *owners, last = path.split(".")
        try:
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            function = getattr(owner, last)
        except (ImportError, AttributeError):
            return
        setattr(owner, last, self._watched(part, function))

    def _watched(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            self._enter(part)
            try:
                return function(*args, **named)
            finally:
                self._leave()

        return call

    def finish(self) -> dict[str, float]:
        """Return the seconds of all parts; what stands between them is the rest."""
        self._count()
        return {part: round(self.seconds[part], 2) for part in (*PARTS, REST)}


def measure(job_file: Path, key: str, data: str) -> dict[str, float]:
    """Score a partition in this process and return the CPU seconds of each part."""
    from scoring.job.loader import load_job
    from scoring.pipeline.context import PartitionContext

    shares = Shares()
    for part, names in PARTS.items():
        for name in names:
            shares.watch(part, name)
    # After that: they import the functions that are watched.
    from scoring.pipeline.cpus import limited_threads
    from scoring.pipeline.extract import extract
    from scoring.pipeline.publish import publish
    from scoring.pipeline.score import score

    loaded = load_job(job_file)
    (partition,) = loaded.job.partitions_to_score([key])
    context = PartitionContext(loaded, partition, loaded.roots(data), "shares")
    model = context.model_file()
    with limited_threads(1):
        extraction = extract(context, model)
        scored = [score(context, shard, model) for shard in extraction.shards]
        publish(context, scored, {"by": "benchmarks"}, replace_newer=True)
    return shares.finish()


def run(
    data: Path, job_file: Path, folder: Path, copies: int, code: Path
) -> dict[str, dict[str, float]]:
    """Return the CPU seconds by part, of ``code`` in a process of its own, for the month of `peers`."""
    # Here: as a program of its own, this file has the package of another checkout around it.
    from benchmarks import real_flights
    from benchmarks.measure import ONE_OPENMP_THREAD

    program = real_flights.ours(data, job_file, folder, copies)
    job = program.command[program.command.index("run") + 1]
    # -P: the folder of this file has modules with the names of others.
    command = [sys.executable, "-P", __file__, job, real_flights.PARTITION, str(data)]
    paths = os.pathsep.join([str(code), str(code / "plugins")])
    environment = {**os.environ, **ONE_OPENMP_THREAD, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return {"cpu_seconds": json.loads(done.stdout)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("partition")
    parser.add_argument("data")
    options = parser.parse_args()
    print(json.dumps(measure(options.job, options.partition, options.data)))
