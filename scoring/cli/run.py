"""``run``: score one partition, or a range of them, and publish each."""

from __future__ import annotations

import argparse
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import UNPUBLISHED, HeldError, JobError, ScoringError, SourceMissingError
from scoring.job.every_partition import problems_of_every_partition
from scoring.job.loader import JobFile
from scoring.job.partitions import Partition

if TYPE_CHECKING:
    from scoring.destinations.manifest import Manifest
    from scoring.storage.connections import Connections

HELP = "score a partition, or a range of them, and publish it"

ONLY = {
    "missing": "what is not published and not held: missing or failed",
    "stale": "what may come out otherwise than it is published",
    "failed": "what a run has left behind that was killed before it published",
}
"""The states that options choose, and what they stand for."""


DRY_RUNS = ".run/dry-run"


@dataclass(frozen=True)
class Outcome:
    """What became of a partition: published now or before (``skipped``), or an error."""

    partition: Partition
    manifest: Manifest | None = None
    error: ScoringError | None = None
    skipped: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    parser.add_argument(
        "partition", help="the partition, such as 2013-05, or a range: 2013-02..2013-05"
    )
    shared.add_workers(parser)
    shared.add_model_version(parser)
    for state, what in ONLY.items():
        parser.add_argument(
            f"--only-{state}",
            f"--{state}",
            action="append_const",
            dest="only",
            const=state,
            help=f"score only {what} (see `scoring coverage`); several of these options add up",
        )
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish even if another run has published the partition in the meantime",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="publish nothing: write what would be published to a folder of one's own",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=_local_folder,
        help=f"the folder of --dry-run, on this machine (default: {DRY_RUNS}/JOB)",
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    job_file = shared.job_file(options)
    partitions = job_file.job.partitions_to_score([options.partition])
    for loc, problem in problems_of_every_partition(job_file.job):
        print(f"warning: {job_file.place(loc)}: {problem}", file=sys.stderr)
    if options.out is not None and not options.dry_run:
        raise JobError("--out is the folder of --dry-run; a run publishes at the job's destination")
    if len(partitions) == 1 and not options.only:
        output.manifest(_run(job_file, partitions[0], options), options.json)
        if options.dry_run:
            print(
                _nothing_published(job_file, partitions[0], options),
                file=sys.stderr if options.json else sys.stdout,
            )
        return 0
    return _run_all(job_file, partitions, options)


def _run_all(job_file: JobFile, partitions: list[Partition], options: argparse.Namespace) -> int:
    """Score one after the other; an error of one does not stop the others."""
    from scoring.destinations.base import open_publisher
    from scoring.storage.connections import Connections

    connections = Connections()
    publisher = open_publisher(job_file.job, job_file.roots(options.data), connections)
    wanted = _wanted(job_file, partitions, options, connections)
    outcomes: list[Outcome] = []
    for partition in partitions:
        if partition.key not in wanted:
            before = publisher.published(partition)
            if before is not None:
                outcomes.append(Outcome(partition, before, skipped=True))
            continue
        try:
            manifest = _run(job_file, partition, options)
            done = "scored, not published" if options.dry_run else "published"
            print(f"{partition.key}: {manifest.rows.scored:,} rows {done}", file=sys.stderr)
            outcomes.append(Outcome(partition, manifest))
        except (*UNPUBLISHED, HeldError) as error:
            print(f"error: {error}\n{error.outcome}".rstrip(), file=sys.stderr)
            outcomes.append(Outcome(partition, error=error))
    output.outcomes(outcomes, options.json, "dry run" if options.dry_run else "published")
    return next((o.error.exit_status for o in outcomes if o.error), 0)


def _wanted(
    job_file: JobFile,
    partitions: list[Partition],
    options: argparse.Namespace,
    connections: Connections,
) -> set[str]:
    """Return the keys of those of ``partitions`` that the options do not leave alone."""
    from scoring.monitoring.coverage import coverage

    if not options.only:
        return {partition.key for partition in partitions}
    states = {*options.only} | ({"failed"} if "missing" in options.only else set())
    covered = coverage(job_file, job_file.roots(options.data), connections, partitions)
    return {found.partition.key for found in covered if found.state in states}


def _run(job_file: JobFile, partition: Partition, options: argparse.Namespace) -> Manifest:
    from scoring.pipeline.context import PartitionContext
    from scoring.pipeline.dry_run import dry_run
    from scoring.pipeline.local import score_partition

    roots = job_file.roots(options.data)
    # On disk a lock keeps two runs of a month apart; elsewhere each has a staging of its own.
    remote = "://" in roots.expand(job_file.job.destination.uri)
    attempt = f"shell-{secrets.token_hex(4)}" if remote else "shell"
    context = PartitionContext(job_file, partition, roots, attempt)
    with output.progress(context.name, options.json) as on_progress:
        try:
            if options.dry_run:
                return dry_run(
                    replace(context, attempt="shell"),
                    _folder(job_file, options),
                    options.model_version,
                    options.workers,
                    on_progress,
                )
            return score_partition(
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
                error.outcome += (
                    " In Airflow this job waits for its source (source.wait); this command does "
                    "not."
                )
            raise
        except HeldError as error:
            if options.dry_run:
                error.outcome = _nothing_published(job_file, partition, options)
            raise


def _folder(job_file: JobFile, options: argparse.Namespace) -> Path:
    """Return the folder of a dry run."""
    folder: Path = options.out or Path(DRY_RUNS) / job_file.job.name
    return folder


def _local_folder(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder of this machine")
    return Path(text)


def _nothing_published(job_file: JobFile, partition: Partition, options: argparse.Namespace) -> str:
    return (
        f"dry run: nothing was published for {job_file.job.name} {partition.key}; what a run would "
        f"publish is in {_folder(job_file, options)}"
    )
