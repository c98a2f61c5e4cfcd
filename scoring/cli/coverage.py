"""``coverage``: which partitions of which jobs are published, stale, held, failed or missing."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from scoring.cli import clock
from scoring.cli import options as shared
from scoring.errors import ScoringError
from scoring.job.folder import job_path, job_paths
from scoring.job.loader import JobFile
from scoring.storage.connections import Connections

if TYPE_CHECKING:
    from scoring.monitoring.coverage import Covered

HELP = "show which partitions are published, stale, held, failed or missing, and why"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", nargs="*", help="names or paths of jobs (default: all)")
    shared.add_coverage(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.cli import coverage_table
    from scoring.monitoring.source_changes import SourceListings

    named = [job_path(job, options.jobs) for job in options.job]
    files, status = shared.load_each(named or job_paths(options.jobs))
    now, connections = clock.now_or(options.moment), Connections()
    listings = SourceListings()

    def of(job_file: JobFile) -> list[Covered] | ScoringError:
        from scoring.monitoring.coverage import coverage, finished_partitions

        try:
            roots, partitions = job_file.roots(options.data), finished_partitions(job_file.job, now)
            return coverage(
                job_file,
                roots,
                connections,
                partitions,
                digests=options.digest,
                listings=listings,
            )
        except ScoringError as error:
            return error

    found: list[tuple[JobFile, list[Covered]]] = []
    with ThreadPoolExecutor(shared.JOBS_AT_ONCE) as threads:
        for job_file, covered in zip(files.values(), threads.map(of, files.values()), strict=True):
            if isinstance(covered, ScoringError):
                print(f"error: {job_file.job.name}: {covered}", file=sys.stderr)
                status = covered.exit_status
            else:
                found.append((job_file, covered))
    coverage_table.show(found, options.json)
    return status
