"""The shell command: ``python -m scoring run|check|list|show|verify``.

What it prints for people goes to the terminal by way of ``scoring.display``; ``--json`` prints one
JSON document on stdout and nothing else there.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scoring import __version__, display
from scoring.destination import Destination
from scoring.errors import JobError, ScoringError, SourceMissing
from scoring.job_file import JobFile, load_job

EPILOG = """\
exit status:
  0  done          2  job file, partition key or usage     3  source
  4  contract      5  model                                6  scorer
  7  publication   8  verify found a difference            1  anything else
  130  interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()  # here, where a reader that has gone away is no error
        return status
    except ScoringError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted; a partition is published as a whole or not at all", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run(options: argparse.Namespace) -> int:
    from scoring.run import PartitionRun
    from scoring.whole import score_partition

    job_file = _job_file(options)
    partition = job_file.job.partition_to_score(options.partition)
    # On disk a lock keeps two runs of a month apart; elsewhere each has a staging of its own.
    roots = job_file.roots(options.data)
    afar = "://" in Destination.of(job_file.job, roots).uri
    own = f"shell-{secrets.token_hex(4)}" if afar else "shell"
    attempt = PartitionRun(job_file, partition, roots, own)
    with display.progress(f"{job_file.job.name} {partition.key}", options.json) as on_progress:
        try:
            manifest = score_partition(
                attempt, {"by": "shell"}, options.model_version, options.workers, on_progress
            )
        except SourceMissing as missing:
            if job_file.job.source.wait is None:
                raise
            raise SourceMissing(
                f"{missing}. In Airflow this job waits for it (source.wait); this command does not"
            ) from None
    display.manifest(manifest, options.json)
    return 0


def verify(options: argparse.Namespace) -> int:
    from scoring.run import PartitionRun
    from scoring.verify import verify_partition

    job_file = _job_file(options)
    partition = job_file.job.partition_to_score(options.partition)
    attempt = PartitionRun(job_file, partition, job_file.roots(options.data), "verify")
    with display.progress(f"{job_file.job.name} {partition.key}", options.json) as on_progress:
        manifest = verify_partition(attempt, options.workers, on_progress)
    display.verified(manifest, options.json)
    return 0


def check(options: argparse.Namespace) -> int:
    paths = [_path_of(job, options.jobs) for job in options.job] or _job_paths(options.jobs)
    files, status = _load_each(paths)
    for path, job_file in files.items():
        print(f"ok: {path} is the job {job_file.job.name}")
    return status


def list_jobs(options: argparse.Namespace) -> int:
    files, status = _load_each(_job_paths(options.jobs))
    display.jobs(
        [
            (f, list(Destination.of(f.job, f.roots(options.data)).all_published()))
            for f in files.values()
        ],
        options.json,
    )
    return status


def _load_each(paths: list[Path]) -> tuple[dict[Path, JobFile], int]:
    """The jobs of the files that are right, and the exit status; tells what is wrong with the others."""
    files, status = {}, 0
    for path in paths:
        try:
            files[path] = load_job(path)
        except JobError as error:
            print(f"error: {error}", file=sys.stderr)
            status = error.exit_status
    return files, status


def show(options: argparse.Namespace) -> int:
    job_file = _job_file(options)
    destination = Destination.of(job_file.job, job_file.roots(options.data))
    if options.partition is None:
        display.partitions(job_file.job, list(destination.all_published()), options.json)
        return 0
    partition = job_file.job.partition_to_score(options.partition)
    manifest = destination.published(partition)
    if manifest is None:
        print(
            f"error: nothing is published for {job_file.job.name} {partition.key} under "
            f"{destination.uri}; `python -m scoring run {job_file.job.name} {partition.key}` scores it",
            file=sys.stderr,
        )
        return 1
    display.manifest(manifest, options.json)
    return 0


def _job_file(options: argparse.Namespace) -> JobFile:
    return load_job(_path_of(options.job, options.jobs))


def _path_of(job: str, folder: Path) -> Path:
    """The file of a job that is named, or given as a path ending in .yaml."""
    if job.endswith((".yaml", ".yml")):
        return Path(job)
    path = folder / f"{job}.yaml"
    if not path.is_file():
        known = ", ".join(p.stem for p in _job_paths(folder))
        raise JobError(f"there is no job {job!r}: {path} does not exist; jobs there: {known}")
    return path


def _job_paths(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise JobError(f"there is no job file (*.yaml) in {folder}; --jobs names another folder")
    return paths


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scoring",
        description="Score a partition (a month, week, day or hour) of a job, and look at what is "
        "published. Airflow runs the same code.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, function: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=function)
        sub.add_argument(
            "--jobs",
            metavar="DIR",
            type=Path,
            default=Path(os.environ.get("SCORING_JOBS", "dags/jobs")),
            help="folder of the job files (default: $SCORING_JOBS, else dags/jobs)",
        )
        return sub

    scoring = command("run", run, "score one partition and publish it")
    verifying = command(
        "verify", verify, "score a published partition again and compare it byte by byte"
    )
    for sub in (scoring, verifying):
        _add_job(sub)
        sub.add_argument("partition", help="the partition, such as 2013-05")
        sub.add_argument(
            "--workers",
            type=_positive,
            metavar="N",
            help="scoring processes (default: one for each core)",
        )
    scoring.add_argument(
        "--model-version",
        metavar="V",
        help="score with this version, whatever the job's policy says",
    )
    checking = command("check", check, "say whether job files are right, and what is wrong in them")
    checking.add_argument("job", nargs="*", help="names or paths of jobs (default: all)")
    listing = command("list", list_jobs, "list the jobs and how many partitions are published")
    showing = command("show", show, "show what is published: all partitions, or one in detail")
    _add_job(showing)
    showing.add_argument("partition", nargs="?", help="one partition (default: all)")
    for sub in (scoring, verifying, listing, showing):
        sub.add_argument(
            "--data",
            metavar="DIR",
            help="what {data} in a job's URIs stands for (default: $SCORING_DATA, else .run/data)",
        )
        sub.add_argument("--json", action="store_true", help="print JSON on stdout, nothing else")
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", help="the job's name, or the path of its file")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
