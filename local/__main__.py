"""Airflow on this machine, for development and for a first look.

python -m local run [--exit] [--port PORT] [--dags DIR]   start everything, score 2013, stay up
python -m local stop                                      end what `run` has started
"""

import argparse
import os
import sys
from pathlib import Path

from local import processes
from local.errors import LocalError
from local.home import REPOSITORY, Home
from local.lock import taken_over
from local.run import Options, run
from local.terminal import Terminal

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C has ended


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    home = Home(REPOSITORY / ".run" if options.home is None else options.home.resolve())
    terminal = Terminal()
    try:
        if options.command == "stop":
            return _stop(home, terminal)
        return run(Options(home, options.dags.resolve(), options.port, options.exit), terminal)
    except LocalError as error:
        terminal.error(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _stop(home: Home, terminal: Terminal) -> int:
    with taken_over(home.lock):
        for name in processes.Record(home.processes).end_leftovers():
            terminal.line(f"ended the {name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--home", type=Path, help="folder for everything that is made (default: .run)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser(
        "run", help="start Airflow, score the months of 2013, stay up until Ctrl-C"
    )
    start.add_argument(
        "--exit",
        action="store_true",
        help="end when the months are scored: exit status 0, or 1 with what failed",
    )
    start.add_argument("--port", type=int, help="port of the web UI (default: 8080, or a free one)")
    start.add_argument(
        "--dags",
        type=Path,
        default=Path(os.environ.get("SCORING_DAGS", REPOSITORY / "dags")),
        help="folder of the Dag files (default: dags, or SCORING_DAGS)",
    )
    commands.add_parser("stop", help="end what an earlier `run` has started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
