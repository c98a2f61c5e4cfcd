"""One `make run` per checkout: two would share one database and one set of predictions."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack.errors import DevstackError


@contextmanager
def only_one(path: Path, what: str = "make run") -> Iterator[None]:
    """Hold the lock, or say who holds it. The kernel gives it back when this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevstackError(
                f"`{what}` is running in this checkout already (process {_holder(path)}). "
                "End it there with Ctrl-C, or here with: python -m devstack stop"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def taken_over(path: Path) -> Iterator[None]:
    """Hold the lock; whoever holds it is asked to end, and awaited."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(path)
            if holder is not None:
                os.kill(holder, signal.SIGTERM)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _holder(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except ValueError:  # it has not written its number yet
        return None
