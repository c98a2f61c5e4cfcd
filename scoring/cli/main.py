"""The shell command ``scoring``, which is ``python -m scoring``, too.

What it prints for people goes to the terminal by way of ``scoring.cli.output``; ``--json`` prints
one JSON document on stdout and nothing else there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from scoring import __version__
from scoring.cli import (
    check,
    clean,
    coverage,
    diff,
    drift,
    env,
    evaluate,
    init,
    inspect,
    parity,
    plan,
    profile,
    promote,
    publish,
    run,
    sample,
    schema,
    serve,
    show,
    stream,
    try_,
    verify,
    versions,
)
from scoring.cli import list as list_jobs
from scoring.cli.options import add_jobs_folder
from scoring.errors import ScorerError, ScoringError, resource_error

COMMANDS = {
    "init": init,
    "run": run,
    "try": try_,
    "sample": sample,
    "verify": verify,
    "parity": parity,
    "check": check,
    "list": list_jobs,
    "show": show,
    "coverage": coverage,
    "plan": plan,
    "drift": drift,
    "diff": diff,
    "versions": versions,
    "promote": promote,
    "evaluate": evaluate,
    "publish": publish,
    "profile": profile,
    "serve": serve,
    "stream": stream,
    "clean": clean,
    "inspect": inspect,
    "env": env,
    "schema": schema,
}
"""Each is a module with ``HELP``, ``add_arguments`` and ``command``."""

EPILOG = """\
exit status:
  0  done          2  job file, partition key or usage     3  source
  4  contract      5  model                                6  scorer
  7  publication   8  verify or parity found a difference  1  anything else
  9  out of open files, disk space or memory, or a package is missing
  10 held: drift, or changes of what is published      130  interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    # Before pyarrow is imported. Its own pool keeps what is freed to itself: the same time, and 30 MB more.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()  # here, where a reader that has gone away is not an error
        return status
    except ScoringError as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, ScorerError):
            shown = error.traceback if options.verbose else error.frames
            print(shown, end="", file=sys.stderr)
        if error.outcome:
            print(error.outcome, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted; a partition is published as a whole or not at all", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()
        return 0
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        found = resource_error(error)
        if found is None and not isinstance(error, OSError):
            raise
        print(f"error: {found or _os_error(error)}", file=sys.stderr)
        _drop_output()
        return found.exit_status if found else 1


def _os_error(error: BaseException) -> ScoringError:
    """Return an operating system error in one line, such as a file that may not be read."""
    why, name = getattr(error, "strerror", None) or str(error), getattr(error, "filename", None)
    return ScoringError(f"{name}: {why}" if name else str(why))


def _drop_output() -> None:
    """Discard what is not printed yet: Python would try again when it ends, and fail again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scoring",
        description="Score a partition (a month, week, day or hour) of a job, and look at what is "
        "published. Airflow runs the same code.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=module.command)
        sub.add_argument(
            "--verbose",
            action="store_true",
            help="full traceback of an error in a model's or scorer's code, not only its last "
            "lines",
        )
        add_jobs_folder(sub)
        module.add_arguments(sub)
    return parser
