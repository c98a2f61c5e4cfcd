"""``profile``: the training profile of a model, from partitions that are like its training data."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from scoring.cli import options as shared
from scoring.errors import PublicationError

HELP = "make a training profile from published partitions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    parser.add_argument(
        "partition", help="partitions that are like the training data: 2013-02..2013-04"
    )
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help="write it there (default: print it)"
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.destinations.base import open_publisher
    from scoring.monitoring.distribution import of_manifests
    from scoring.storage.connections import Connections

    job_file = shared.job_file(options)
    job = job_file.job
    publisher = open_publisher(job, job_file.roots(options.data), Connections())
    published = []
    for partition in job.partitions_to_score([options.partition]):
        manifest = publisher.published(partition)
        if manifest is None:
            raise PublicationError(
                f"nothing is published for {job.name} {partition.key}; score it first, or name "
                "partitions that are"
            )
        published.append(manifest)
    text = of_manifests(published).to_json()
    if options.output is None:  # a profile is JSON, with and without --json
        print(text, end="")
        return 0
    data = text.encode()
    options.output.write_bytes(data)
    rows = sum(manifest.rows.scored for manifest in published)
    if options.json:
        digest = hashlib.sha256(data).hexdigest()
        print(json.dumps({"file": str(options.output), "rows": rows, "sha256": digest}, indent=2))
    else:
        print(f"{options.output}: the profile of {rows:,} rows", file=sys.stderr)
    return 0
