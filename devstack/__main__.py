"""Airflow on this machine, for development and for a first look.

python -m devstack run [--exit] [--port PORT] [--dags DIR]     start Airflow, score 2013, stay up
python -m devstack stack [--exit] [--serve] [--stream] [--port PORT] [--dags DIR]
                                                               start what docker-compose.yaml starts, stay up
python -m devstack containers [--find]                         check docker-compose.yaml in real containers
python -m devstack send ADDRESS [VALUE …]                      send messages to a topic of `stack --stream`
python -m devstack read ADDRESS [--exit]                       print the messages of a topic
python -m devstack stop                                        stop what `run` and `stack` have started
python -m devstack compose-environment                         Airflow's settings, for docker-compose.yaml
python -m devstack env                                         write .env, with fresh secrets, for docker-compose.yaml
"""

import argparse
import os
import sys
from pathlib import Path

from devstack.commands import compose, messages
from devstack.commands.containers import containers, find_engine
from devstack.commands.run import RunOptions, run
from devstack.commands.stack import StackOptions, stack
from devstack.commands.stop import stop
from devstack.commands.terminal import Terminal
from devstack.errors import DevstackError
from devstack.home import REPOSITORY, Home
from scoring.errors import ScoringError

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C has ended


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    home = Home(REPOSITORY / ".run" if options.home is None else options.home.resolve())
    terminal = Terminal()
    try:
        if options.command == "stop":
            return stop(home, terminal)
        if options.command == "containers":
            return find_engine(home, terminal) if options.find else containers(home, terminal)
        if options.command == "env":
            terminal.line(compose.write_env(options.file))
            return 0
        if options.command == "compose-environment":
            print(compose.environment_block(), end="")
            return 0
        if options.command == "stack":
            dags, examples = options.dags.resolve(), home.data
            wanted = StackOptions(
                home.stack, dags, options.port, options.exit,
                examples=examples, serve=options.serve, stream=options.stream,
            )  # fmt: skip
            return stack(wanted, terminal)
        if options.command == "send":
            count = messages.send(options.address, options.value or messages.lines_of_input())
            terminal.line(f"{count} message{'' if count == 1 else 's'} sent")
            return 0
        if options.command == "read":
            messages.read(options.address, options.exit)
            return 0
        return run(RunOptions(home, options.dags.resolve(), options.port, options.exit), terminal)
    except (DevstackError, ScoringError) as error:
        terminal.error(str(error))
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devstack", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--home", type=Path, help="folder for everything that is generated (default: .run)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser(
        "run", help="start Airflow, score the months of 2013, stay up until Ctrl-C"
    )
    _add_start_options(
        start, "exit when the months are scored: exit status 0, or 1 with what failed"
    )
    everything = commands.add_parser(
        "stack", help="start what docker-compose.yaml starts, without containers, until Ctrl-C"
    )
    _add_start_options(everything, "exit when everything is up")
    everything.add_argument(
        "--serve", action="store_true", help="start the service for predictions, too"
    )
    everything.add_argument(
        "--stream",
        action="store_true",
        help="start a broker of Kafka's protocol and the stream that scores its messages, too",
    )
    _add_messages(commands)
    real = commands.add_parser(
        "containers",
        help="bring docker-compose.yaml up in containers, score, compare, take it down",
    )
    real.add_argument(
        "--find", action="store_true", help="only print which engine there is, or what was tried"
    )
    commands.add_parser("stop", help="stop what `run` and `stack` have started")
    commands.add_parser("compose-environment", help="print the settings of docker-compose.yaml")
    environment = commands.add_parser("env", help="write .env with fresh secrets")
    environment.add_argument("--file", type=Path, default=REPOSITORY / ".env")
    return parser


def _add_messages(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sending = commands.add_parser("send", help="send messages to a topic of `stack --stream`")
    reading = commands.add_parser("read", help="print the messages of a topic, until Ctrl-C")
    for parser in (sending, reading):
        parser.add_argument("address", metavar="ADDRESS", help="kafka://HOST:PORT/TOPIC")
    sending.add_argument(
        "value", metavar="VALUE", nargs="*", help="a message (default: each line of standard input)"
    )
    reading.add_argument("--exit", action="store_true", help="exit when those there are printed")


def _add_start_options(parser: argparse.ArgumentParser, exit_help: str) -> None:
    parser.add_argument("--exit", action="store_true", help=exit_help)
    parser.add_argument(
        "--port", type=int, help="port of the web UI (default: 8080, or a free one)"
    )
    parser.add_argument(
        "--dags",
        type=Path,
        default=Path(os.environ.get("SCORING_DAGS", REPOSITORY / "dags")),
        help="folder of the Dag files (default: dags, or SCORING_DAGS)",
    )


if __name__ == "__main__":
    sys.exit(main())
