"""``promote``: put a model version in force from a partition on, by an edit of the job file."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.cli import options as shared
from scoring.errors import JobError, ScoringError
from scoring.job.folder import job_path
from scoring.job.loader import JobFile
from scoring.job.partitions import Partition
from scoring.job.promotion import Promotion, promote

if TYPE_CHECKING:
    from scoring.monitoring.plan import Stretch

HELP = "put a model version in force from a partition on: edits the job file, prints the diff"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    parser.add_argument("version", help="the version, such as a candidate")
    parser.add_argument(
        "--from",
        metavar="PARTITION",
        dest="since",
        required=True,
        help="the first partition that it scores, such as 2021-07",
    )
    parser.add_argument(
        "--move",
        action="store_true",
        help="also for a version that is in force already, from another partition on: changes the "
        "history of what is published",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the same, and leave the file as it is"
    )
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    path = job_path(options.job, options.jobs)
    found = promote(path, options.version, options.since)
    stale = _newly_stale(found, options.data)
    moved = found.moved_from
    if moved is not None and moved != options.since and not options.move:
        raise JobError(
            f"{found.version} is in force from {moved} on; with --move it is from {options.since} on, "
            f"and {_counted(stale)}. Nothing was written"
        )
    if not options.dry_run:
        _replace(path, found.data)
    _print(found, stale, options)
    return 0


def _newly_stale(found: Promotion, data: str | None) -> list[Stretch] | None:
    """Return the published partitions that become stale; None where nobody can say."""
    from scoring.monitoring.history import stale_models
    from scoring.monitoring.plan import stretches
    from scoring.storage.connections import Connections

    connections = Connections()

    def stale(file: JobFile) -> set[Partition]:
        by_reason = stale_models(file.job, file.roots(data), connections)
        return {partition for one in by_reason for partition in one.partitions}

    try:
        return stretches(sorted(stale(found.after) - stale(found.before)))
    except (ScoringError, OSError) as error:
        print(f"warning: what is published was not compared: {error}", file=sys.stderr)
        return None


def _replace(path: Path, data: bytes) -> None:
    """Replace the file in one step; behind a link, the file that it names."""
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.write(data)
        shutil.copymode(path, name)
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise


def _print(found: Promotion, stale: list[Stretch] | None, options: argparse.Namespace) -> None:
    from scoring.monitoring.versions import in_force

    job = found.after.job
    force = in_force(job, found.version)
    if options.json:
        facts = {
            "job": job.name,
            "file": str(found.after.path),
            "version": found.version,
            "moved_from": found.moved_from,
            "in_force_from": force.first.key if force.first else None,
            "in_force_to": force.last.key if force.last else None,
            "stale": None if stale is None else [one.keys for one in stale],
            "written": not options.dry_run,
            "diff": found.diff,
        }
        print(json.dumps(facts, indent=2))
        return
    print(found.diff or f"{found.after.path}: unchanged")
    until = f"to {force.last.key}" if force.last else "on"
    print(f"\n{found.version} is in force from {options.since} {until}.")
    if stale is not None:
        print(f"Of what is published, {_counted(stale)}.")
    if stale:
        print(f"`scoring plan {job.name} --stale` has the commands that score them again.")
    if found.version in job.challengers:
        print(
            f"{found.version} is a challenger of the other partitions; see challengers in the job."
        )
    print("Nothing was written (--dry-run)." if options.dry_run else "Review and commit the file.")


def _counted(stale: list[Stretch] | None) -> str:
    if stale is None:
        return "it is not known which partitions become stale"
    if not stale:
        return "no partition becomes stale"
    return f"these partitions become stale: {' '.join(one.keys for one in stale)}"
