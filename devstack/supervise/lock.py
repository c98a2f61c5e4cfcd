"""One `make run` per checkout: two would share one database and one set of predictions."""

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devstack.errors import DevstackError


@contextmanager
def only_one(path: Path, command: str) -> Iterator[None]:
    """Hold the lock; DevstackError names the process that holds it already."""

    def refuse(holder: int | None) -> None:
        raise DevstackError(
            f"`{command}` is already running in this checkout (process {holder}). "
            "End it there with Ctrl-C, or here with: python -m devstack stop"
        )

    with _locked(path, refuse):
        yield


@contextmanager
def taken_over(path: Path) -> Iterator[None]:
    """Hold the lock; a process that holds it is asked to end first."""

    def end(holder: int | None) -> None:
        if holder is not None:
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGTERM)

    with _locked(path, end):
        yield


@contextmanager
def _locked(path: Path, when_held: Callable[[int | None], None]) -> Iterator[None]:
    """Hold the lock with this process's id in its file; `when_held` gets the id of another holder
    before the wait.

    The kernel releases the lock when this process ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_held(_holder(path))
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _holder(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except ValueError:  # not written yet
        return None
