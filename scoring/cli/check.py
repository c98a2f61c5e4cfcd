"""``check``: say whether job files are valid, and what is wrong in them."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from scoring.cli import options as shared
from scoring.errors import JobError
from scoring.job.destinations import message, shared_destinations
from scoring.job.loader import JobFile, check_every_partition, load_job

HELP = "say whether job files are valid, and what is wrong in them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", nargs="*", help="names or paths of jobs (default: all)")


def command(options: argparse.Namespace) -> int:
    named = [shared.job_path(job, options.jobs) for job in options.job]
    files, status = shared.load_each(named or shared.job_paths(options.jobs))
    destinations = _shared_destinations(files.values())
    for path, job_file in files.items():
        try:
            check_every_partition(job_file)
            if other := destinations.get(job_file.path):
                raise JobError(message(job_file, other))
        except JobError as error:
            print(f"error: {error}", file=sys.stderr)
            status = error.exit_status
        else:
            print(f"ok: {path} is the job {job_file.job.name}")
    return status


def _shared_destinations(files: Iterable[JobFile]) -> dict[Path, JobFile]:
    """For each file that shares its destination with one in its folder, the other one."""
    checked = {file.path: file for file in files}
    found: dict[Path, JobFile] = {}
    for folder in dict.fromkeys(path.parent for path in checked):
        together = {path: file for path, file in checked.items() if path.parent == folder}
        for path in folder.glob("*.yaml"):
            if path not in together:
                with contextlib.suppress(JobError):  # of a file that was not asked about
                    together[path] = load_job(path)
        for one, other in shared_destinations(together[path] for path in sorted(together)):
            found.setdefault(one.path, other)
            found.setdefault(other.path, one)
    return found
