"""``clean``: remove what killed runs have left behind."""

from __future__ import annotations

import argparse

from scoring.cli import options as shared
from scoring.cli import output
from scoring.storage.connections import Connections

HELP = "remove files that killed runs left behind and no running run owns"
DAYS_KEPT = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    parser.add_argument(
        "--older-than",
        type=shared.positive,
        default=DAYS_KEPT,
        metavar="DAYS",
        help="remove staging of Airflow runs, and of other machines, once unchanged for this many "
        "days (default: %(default)s)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would be removed, without removing it"
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.clean import clean

    job_file = shared.job_file(options)
    found = clean(
        job_file.job,
        job_file.roots(options.data),
        Connections(),
        options.older_than,
        options.dry_run,
    )
    output.cleaned(found, options.dry_run, options.json)
    return 0
