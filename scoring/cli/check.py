"""``check``: validate job files and report every problem; ``--deep``: try one of them."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import JobError, ScoringError
from scoring.job.destinations import message, shared_destinations
from scoring.job.folder import job_path, job_paths
from scoring.job.loader import JobFile, check_every_partition, load_job

if TYPE_CHECKING:
    from scoring.monitoring.history import StaleModel
    from scoring.pipeline.rehearsal import Rehearsal

HELP = (
    "validate job files and report every problem, and what a change of model versions makes stale"
)

_DEEP = """\
also open the source, load the model, score the first 100 rows and see whether the destination can be written: \
check --deep JOB [PARTITION] (default: the first partition whose source is there). Nothing is published"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", nargs="*", help="names or paths of jobs (default: all)")
    parser.add_argument("--deep", action="store_true", help=_DEEP)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    if options.deep:
        return _deep(options)
    named = [job_path(job, options.jobs) for job in options.job]
    paths = named or job_paths(options.jobs)
    files, status = shared.load_each(paths)
    destinations = _shared_destinations(files.values(), options.data)
    right = []
    for path, job_file in files.items():
        try:
            _check(job_file, destinations)
        except JobError as error:
            print(f"error: {error}", file=sys.stderr)
            status = error.exit_status
        else:
            right.append(path)
            if not options.json:
                print(f"ok: {path} is the job {job_file.job.name}")
    stale = _stale({path: files[path] for path in right}, options.data)
    if options.json:
        facts = [
            {"file": str(p), "valid": p in right, "stale": [str(one) for one in stale.get(p, [])]}
            for p in paths
        ]
        print(json.dumps(facts, indent=2))
    return status


def _stale(files: dict[Path, JobFile], data: str | None) -> dict[Path, list[StaleModel]]:
    """Return, and say on stderr, which published partitions another model would score now: a change
    of history is never without a word.
    """
    from scoring.monitoring.history import stale_models
    from scoring.storage.connections import Connections

    connections = Connections()

    def of(job_file: JobFile) -> list[StaleModel] | str:
        if job_file.job.model is None:
            return []
        try:
            return stale_models(job_file.job, job_file.roots(data), connections)
        except (ScoringError, OSError) as error:
            return str(error)

    stale: dict[Path, list[StaleModel]] = {}
    with ThreadPoolExecutor(shared.JOBS_AT_ONCE) as threads:
        each = zip(files.items(), threads.map(of, files.values()), strict=True)
        for (path, job_file), found in each:
            name = job_file.job.name
            if isinstance(found, str):
                print(
                    f"warning: {name}: what is published was not compared: {found}", file=sys.stderr
                )
                continue
            for one in found:
                print(f"warning: {name}: published, and stale by this file: {one}", file=sys.stderr)
            stale[path] = found
    return stale


def _deep(options: argparse.Namespace) -> int:
    """Try one partition of one job; what is wrong is raised, as by a run."""
    if len(options.job) not in (1, 2):
        raise JobError("--deep tries one job: check --deep JOB [PARTITION]")
    job_file = load_job(job_path(options.job[0], options.jobs))
    check_alone(job_file, options.data)
    if not options.json:
        print(f"ok: {job_file.path} is the job {job_file.job.name}", flush=True)
    found = rehearsed(job_file, options.job[1:], options)
    if options.json:
        print(json.dumps(output.rehearsal(job_file.job, found), indent=2))
    return 0


def check_alone(job_file: JobFile, data: str | None) -> None:
    """Raise JobError for what ``check`` finds in one job, also beside those of its folder."""
    _check(job_file, _shared_destinations([job_file], data))


def rehearsed(job_file: JobFile, named: list[str], options: argparse.Namespace) -> Rehearsal:
    """Try the partition that is named, else the first whose source is there; print each step."""
    from scoring.pipeline.context import PartitionContext
    from scoring.pipeline.rehearsal import partition_with_source, rehearse

    job = job_file.job
    roots = job_file.roots(options.data)
    context = PartitionContext(job_file, job.first_partition, roots, "check")
    partition = job.partition_to_score(named[0]) if named else partition_with_source(context)
    return rehearse(
        replace(context, partition=partition),
        on_step=output.no_step if options.json else output.rehearsal_step,
    )


def _check(job_file: JobFile, destinations: dict[Path, JobFile]) -> None:
    check_every_partition(job_file)
    _check_expressions(job_file)
    if other := destinations.get(job_file.path):
        raise JobError(message(job_file, other))


def _check_expressions(job_file: JobFile) -> None:
    """Raise JobError for a wrong expression, of the source or of the actuals."""
    job = job_file.job
    of_actuals = job.actuals is not None and job.actuals.source.derive
    if not (job.source.derive or job.leave_out or of_actuals):
        return
    from scoring.expressions.evaluate import open_expressions
    from scoring.pipeline.actuals import file_of_actuals

    open_expressions(job_file).close()
    if of_actuals:
        open_expressions(file_of_actuals(job_file, {})).close()


def _shared_destinations(files: Iterable[JobFile], data: str | None) -> dict[Path, JobFile]:
    """Return, for each file that shares its destination with one in its folder, the other one."""
    checked = {file.path: file for file in files}
    found: dict[Path, JobFile] = {}
    for folder in dict.fromkeys(path.parent for path in checked):
        together = {path: file for path, file in checked.items() if path.parent == folder}
        for path in folder.glob("*.yaml"):
            if path not in together:
                with contextlib.suppress(JobError):  # of a file that was not asked about
                    together[path] = load_job(path)
        for one, other in shared_destinations((together[p] for p in sorted(together)), data):
            found.setdefault(one.path, other)
            found.setdefault(other.path, one)
    return found
