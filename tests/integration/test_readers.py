"""Readers of a destination while a month is replaced again and again: who gets one version, who an
error, who neither.

``make soak-readers`` goes on for longer than ``make test``, and writes its table into
docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from devstack.services.object_store import ObjectStore
from scoring.destinations.manifest import Manifest
from scoring.pipeline.context import PartitionContext
from tests.integration import readers
from tests.integration.distributed import soak
from tests.s3_server import BUCKET, connections
from tests.scoring.factories import Place, rows, run_steps

SWAPS = 10
"""How often the month is replaced in ``make test``, whatever a machine takes for it."""

Counts = dict[str, dict[str, Any]]


def publish(context: PartitionContext, like: Manifest, version: int, count: int) -> None:
    """Publish ``count`` rows of which each says the version."""
    key, run = context.partition.key, {"by": f"version {version}"}
    table = pa.table(
        {
            "id": np.arange(count),
            "y": np.full(count, float(version)),
            "text": [f"row {i}" for i in range(count)],
            "partition": [key] * count,
        }
    )
    publisher = context.publisher
    mark = publisher.mark(context.partition)
    with publisher.begin(context.partition, mark, run, context.staging) as publication:
        for start in range(0, count, 8192):  # a row group each
            publication.write(table.slice(start, 8192))
        output = publication.close()
        manifest = like.model_copy(update={"output": output, "partition": key, "run": run})
        publication.commit(manifest)


def read_while_publishing(
    place: Place, uri: str, kinds: list[str], environment: dict[str, str]
) -> tuple[int, Counts]:
    """How often the month was replaced, and what each kind of reader got."""
    place.model()
    place.source(rows(5))
    like = run_steps(place.run())
    shutil.rmtree(place.out)
    job = place.job(destination={"uri": uri})
    roots = job.roots(str(place.data))
    still, swapped = (
        PartitionContext(job, job.job.parse(key), roots, "readers", connections())
        for key in (readers.STILL, readers.SWAPPED)
    )
    publish(still, like, 0, readers.STILL_ROWS)
    publish(swapped, like, 0, readers.rows_of(0))
    stop, begun = place.folder / "stop", time.monotonic()
    command = [sys.executable, "-m", "tests.integration.readers"]
    processes = {
        kind: subprocess.Popen(
            [*command, kind, uri, str(stop)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        for kind in kinds
    }
    for process in processes.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n", process.communicate()[1][-2000:]
    seconds, swaps = float(os.environ.get("READERS_SECONDS", "0")), 0
    while swaps < SWAPS or time.monotonic() - begun < seconds:
        swaps += 1
        publish(swapped, like, swaps, readers.rows_of(swaps))
    stop.touch()
    return swaps, {kind: json.loads(p.communicate()[0]) for kind, p in processes.items()}


@pytest.mark.integration
@pytest.mark.parametrize("where", ["disk", "S3"])
def test_who_reads_one_version_of_each_month(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
):
    uri, environment = str(tmp_path / "lake"), {}
    if where == "S3":
        server: ObjectStore = request.getfixturevalue("s3_server")
        request.getfixturevalue("s3")
        uri = f"s3://{BUCKET}/lake"
        environment = {
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }
    swaps, counts = read_while_publishing(Place(tmp_path), uri, list(readers.READERS), environment)
    for kind, found in counts.items():
        print(where, kind, found)
        assert sum(found["counts"].values()) > 0, f"{kind} never read"
    for kind in readers.SAFE[where]:
        assert set(counts[kind]["counts"]) == {"ok"}, counts[kind]
    soak.write_readers(where, swaps, counts)
