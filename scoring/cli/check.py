"""``check``: say whether job files are valid, and what is wrong in them."""

from __future__ import annotations

import argparse
import sys

from scoring.cli import options as shared
from scoring.errors import JobError
from scoring.job.loader import check_every_partition

HELP = "say whether job files are valid, and what is wrong in them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", nargs="*", help="names or paths of jobs (default: all)")


def command(options: argparse.Namespace) -> int:
    named = [shared.job_path(job, options.jobs) for job in options.job]
    files, status = shared.load_each(named or shared.job_paths(options.jobs))
    for path, job_file in files.items():
        try:
            check_every_partition(job_file)
        except JobError as error:
            print(f"error: {error}", file=sys.stderr)
            status = error.exit_status
        else:
            print(f"ok: {path} is the job {job_file.job.name}")
    return status
