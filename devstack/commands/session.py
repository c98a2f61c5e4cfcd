"""What `make run` and `make stack` have in common: one of each at a time, nothing left behind, and
a last screen.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from devstack.airflow import components, installation
from devstack.airflow.environment import Installation
from devstack.commands.terminal import Terminal
from devstack.home import Home
from devstack.supervise import processes
from devstack.supervise.lock import only_one
from devstack.supervise.signals import signals_ignored
from devstack.supervise.supervisor import Supervisor

Fact = tuple[str, str]  # a label and what stands beside it
LABEL_COLUMNS = 12


@contextmanager
def supervised(home: Home, command: str, say: Callable[[str], None]) -> Iterator[Supervisor]:
    """Yield a supervisor; end every process that it started when the block ends."""
    with closed_to_writers(), only_one(home.lock, command):
        record = processes.Record(home.processes)
        for name in record.end_leftovers():
            say(f"ended the {name} that an interrupted call left behind")
        supervisor = Supervisor(record, say)
        try:
            yield supervisor
        finally:
            with (
                signals_ignored()
            ):  # takes a few seconds; an impatient second Ctrl-C must not cut it short
                components.end(supervisor)


@contextmanager
def closed_to_writers() -> Iterator[None]:
    """Set a umask for the block so that others cannot write what this process and its services
    create.
    """
    before = os.umask(0o077)
    os.umask(before | 0o022)
    try:
        yield
    finally:
        os.umask(before)


def access(home: Home, of: Installation) -> list[Fact]:
    """Return how to get into the web UI; the password stays out of terminals, logs and screenshots."""
    login = f"{installation.UI_USER}   (password: {home.passwords})"
    return [("web UI", of.api_url), ("login", login)]


def shell(home: Home) -> Fact:
    """Return how to call this installation's `airflow`."""
    return "airflow", f". {home.shell_environment}   gives a shell the airflow command"


def serve(
    command: str, facts: Sequence[Fact], home: Home, supervisor: Supervisor, terminal: Terminal
) -> None:
    """Print the facts, and keep everything up until Ctrl-C."""
    terminal.line()
    for label, text in [*facts, ("logs", f"{home.logs} (processes), {home.task_logs} (tasks)")]:
        terminal.line(f"{label:<{LABEL_COLUMNS}}{text}")
    terminal.line(f"\nCtrl-C ends everything. `{command}` resumes where it stopped.")
    try:
        while True:
            supervisor.watch()
    except KeyboardInterrupt:
        terminal.line()
