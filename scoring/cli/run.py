"""``run``: score one partition and publish it."""

from __future__ import annotations

import argparse
import secrets
import sys

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import UNPUBLISHED, SourceMissingError
from scoring.job.every_partition import problems_of_every_partition

HELP = "score one partition and publish it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_partition(parser)
    shared.add_workers(parser)
    parser.add_argument(
        "--model-version",
        metavar="V",
        help="score with this version, overriding the job's policy",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish even if another run has published the partition in the meantime",
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.context import PartitionContext
    from scoring.pipeline.local import score_partition

    job_file = shared.job_file(options)
    partition = job_file.job.partition_to_score(options.partition)
    for loc, problem in problems_of_every_partition(job_file.job):
        print(f"warning: {job_file.place(loc)}: {problem}", file=sys.stderr)
    roots = job_file.roots(options.data)
    # On disk a lock keeps two runs of a month apart; elsewhere each has a staging of its own.
    remote = "://" in roots.expand(job_file.job.destination.uri)
    attempt = f"shell-{secrets.token_hex(4)}" if remote else "shell"
    context = PartitionContext(job_file, partition, roots, attempt)
    with output.progress(context.name, options.json) as on_progress:
        try:
            manifest = score_partition(
                context,
                {"by": "shell"},
                options.model_version,
                options.workers,
                on_progress,
                replace_newer=options.force,
            )
        except UNPUBLISHED as error:
            error.outcome = f"Nothing was published for {context.name}."
            if isinstance(error, SourceMissingError) and job_file.job.source.wait:
                error.outcome += " In Airflow this job waits for its source (source.wait); this command does not."
            raise
    output.manifest(manifest, options.json)
    return 0
