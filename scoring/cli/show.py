"""``show``: what is published, all partitions or one in detail."""

from __future__ import annotations

import argparse
import sys

from scoring.cli import options as shared
from scoring.cli import output
from scoring.destinations.base import open_publisher
from scoring.storage.connections import Connections

HELP = "show what is published: all partitions, or one in detail"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    parser.add_argument("partition", nargs="?", help="one partition (default: all)")
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    job_file = shared.job_file(options)
    job = job_file.job
    publisher = open_publisher(job, job_file.roots(options.data), Connections())
    if options.partition is None:
        published = list(publisher.all_published())
        own = [m for m in published if job.is_own(m.job)]
        if others := sorted({m.job for m in published if not job.is_own(m.job)}):
            print(
                f"warning: {len(published) - len(own)} of the partitions under {publisher.uri} are "
                f"published by {', '.join(others)}, not by {job.name}",
                file=sys.stderr,
            )
        output.partitions(job, own, options.json)
        return 0
    partition = job.partition_to_score(options.partition)
    manifest = publisher.published(partition)
    if manifest is None:
        print(
            f"error: nothing is published for {job.name} {partition.key} under "
            f"{publisher.uri}; `scoring run {job.name} {partition.key}` scores it",
            file=sys.stderr,
        )
        return 1
    if not job.is_own(manifest.job):
        print(
            f"error: what is published for {partition.key} under {publisher.uri} is the job "
            f"{manifest.job}'s, not {job.name}'s",
            file=sys.stderr,
        )
        return 1
    output.manifest(manifest, options.json)
    return 0
