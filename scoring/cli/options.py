"""Options that several commands have, and the job files that they name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.cli import clock
from scoring.errors import JobError
from scoring.job.folder import job_path, job_paths, jobs_folder
from scoring.job.loader import JobFile, load_job

if TYPE_CHECKING:
    from scoring.pipeline.context import PartitionContext

JOBS_AT_ONCE = 8
"""How many destinations are looked at together: most of the time is waiting for a storage."""


def add_jobs_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        metavar="DIR",
        type=Path,
        default=jobs_folder(),
        help="folder of the job files (default: $SCORING_JOBS, else dags/jobs)",
    )


def add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", help="the job's name, or the path of its file")


def add_partition(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("partition", help="the partition, such as 2013-05")


def add_served_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job",
        nargs="*",
        help="names of jobs, or paths of their files (default: all jobs of the folder, also those "
        "that are added later)",
    )


def served_jobs(options: argparse.Namespace) -> tuple[Path, ...]:
    """Return the job files that the command names; none where all of the folder are meant."""
    paths = tuple(job_path(job, options.jobs) for job in options.job)
    if not paths:
        job_paths(options.jobs)  # there is one at least
    return paths


def add_clock_and_data(parser: argparse.ArgumentParser) -> None:
    """Add what a service looks up the version in force by, and where it finds files."""
    parser.add_argument(
        "--now",
        metavar="MOMENT",
        dest="moment",
        type=clock.moment,
        help="the moment at which the version in force is looked up (default: the clock)",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="value of {data} in a job's URIs (default: $SCORING_DATA, else .run/data)",
    )


def add_model_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-version",
        metavar="V",
        help="score with this version, overriding the job's policy",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="scoring processes (default: one per core)",
    )


def add_data_and_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="value of {data} in a job's URIs (default: $SCORING_DATA, else .run/data)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON on stdout, nothing else")


def add_coverage(parser: argparse.ArgumentParser) -> None:
    """Add what the commands that compare what is published with what would be have in common."""
    parser.add_argument(
        "--digest",
        action="store_true",
        help="compare files by their bytes too: reads all published files, and sources on disk",
    )
    parser.add_argument(
        "--now",
        metavar="MOMENT",
        dest="moment",
        type=clock.moment,
        help="which partitions are over: those that ended before this moment, such as "
        "2014-01-02T03:00Z (default: the clock)",
    )


def job_file(options: argparse.Namespace) -> JobFile:
    """Return the job that the command names."""
    return load_job(job_path(options.job, options.jobs))


def partition_context(options: argparse.Namespace, attempt: str) -> PartitionContext:
    """Return the context of the partition that the command names, of a job that scores it."""
    from scoring.pipeline.context import PartitionContext

    file = job_file(options)
    partition = file.job.partition_to_score(options.partition)
    return PartitionContext(file, partition, file.roots(options.data), attempt)


def load_each(paths: list[Path]) -> tuple[dict[Path, JobFile], int]:
    """Return the valid job files and the exit status; says on stderr what is wrong with the others."""
    files, status = {}, 0
    for path in paths:
        try:
            files[path] = load_job(path)
        except JobError as error:
            print(f"error: {error}", file=sys.stderr)
            status = error.exit_status
    return files, status


def positive(text: str) -> int:
    """Return an option's positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)
