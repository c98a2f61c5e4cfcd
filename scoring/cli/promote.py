"""``promote``: put a model version in force from a partition on, by an edit of the job file."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.cli import options as shared
from scoring.errors import JobError, ScoringError
from scoring.job.folder import job_path
from scoring.job.promotion import Promotion, promote

if TYPE_CHECKING:
    from scoring.monitoring.history import StaleModel

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
        _replace(path, found)
    _print(found, stale, options)
    return 0


def _newly_stale(found: Promotion, data: str | None) -> list[StaleModel] | None:
    """Return the published partitions that become stale, by reason; None where nobody can say."""
    from scoring.monitoring.history import stale_models
    from scoring.storage.connections import Connections

    connections = Connections()
    try:
        before, after = (
            stale_models(file.job, file.roots(data), connections)
            for file in (found.before, found.after)
        )
    except (ScoringError, OSError) as error:
        print(f"warning: what is published was not compared: {error}", file=sys.stderr)
        return None
    known = {partition for one in before for partition in one.partitions}
    new = [
        replace(one, partitions=tuple(p for p in one.partitions if p not in known)) for one in after
    ]
    return [one for one in new if one.partitions]


def _replace(path: Path, found: Promotion) -> None:
    """Replace the file in one step, with its mode and owner; behind a link, the file that it names.

    Raises JobError where somebody has changed the file meanwhile.
    """
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.write(found.data)
        shutil.copymode(path, name)
        owner = path.stat()
        with contextlib.suppress(PermissionError):  # only root gives files away
            os.chown(name, owner.st_uid, owner.st_gid)
        if path.read_bytes() != found.before_data:
            raise JobError(f"{path} was changed meanwhile, and stays as it is: promote again")
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise


def _print(found: Promotion, stale: list[StaleModel] | None, options: argparse.Namespace) -> None:
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
            "stale": None if stale is None else [str(one) for one in stale],
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
    if any(one.is_scored_again for one in stale or []):
        print(f"`scoring plan {job.name} --stale` has the commands that score them again.")
    if found.version in job.challengers:
        print(
            f"{found.version} is a challenger of the other partitions; see challengers in the job."
        )
    print("Nothing was written (--dry-run)." if options.dry_run else "Review and commit the file.")


def _counted(stale: list[StaleModel] | None) -> str:
    if stale is None:
        return "it is not known which partitions become stale"
    if not stale:
        return "no partition becomes stale"
    return "\n".join(["these partitions become stale:", *(f"  {one}" for one in stale)])
