"""``plan``: which partitions would be scored again, why, and the Airflow commands that do it."""

from __future__ import annotations

import argparse

from scoring.cli import clock
from scoring.cli import options as shared
from scoring.storage.connections import Connections

HELP = "print which partitions would be scored again, why, and the commands that do it"

SCORED_AGAIN = ("stale", "failed", "missing")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    for state in SCORED_AGAIN:
        parser.add_argument(
            f"--{state}",
            action="append_const",
            dest="states",
            const=state,
            help=f"only what is {state}; several of these options add up",
        )
    shared.add_coverage(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.cli import coverage_table
    from scoring.monitoring.coverage import coverage, finished_partitions

    job_file = shared.job_file(options)
    partitions = finished_partitions(job_file.job, clock.now_or(options.moment))
    roots = job_file.roots(options.data)
    covered = coverage(job_file, roots, Connections(), partitions, digests=options.digest)
    states = options.states or SCORED_AGAIN
    again = [found for found in covered if found.state in states]
    coverage_table.show_plan(job_file.job, again, options.json)
    return 0
