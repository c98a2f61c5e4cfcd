"""``list``: the jobs, and how many of their partitions are published."""

from __future__ import annotations

import argparse

from scoring.cli import options as shared
from scoring.cli import output
from scoring.destinations.base import open_publisher
from scoring.job.folder import job_paths
from scoring.storage.connections import Connections

HELP = "list the jobs and how many partitions are published"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    files, status = shared.load_each(job_paths(options.jobs))
    found = []
    for file in files.values():
        publisher = open_publisher(file.job, file.roots(options.data), Connections())
        own = [m for m in publisher.all_published() if file.job.is_own(m.job)]
        found.append((file, own))
    output.jobs(found, options.json)
    return status
