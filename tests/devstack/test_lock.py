from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.errors import DevstackError
from devstack.supervise.lock import only_one, taken_over

HOLD = """
import signal, sys
from pathlib import Path
from devstack.supervise.lock import only_one
with only_one(Path(sys.argv[1]), "make run"):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lock"


@pytest.fixture
def holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_one_is_refused_and_names_the_first(
    lock: Path, holder: subprocess.Popen[str]
) -> None:
    refused = pytest.raises(DevstackError, match=rf"`make stack` .*\(process {holder.pid}\)")
    with refused, only_one(lock, "make stack"):
        pytest.fail("two hold the lock")


def test_a_lock_is_taken_over_when_its_holder_has_ended(
    lock: Path, holder: subprocess.Popen[str]
) -> None:
    with taken_over(lock):
        assert lock.read_text() == str(os.getpid())
    assert holder.wait() == -signal.SIGTERM
    with only_one(lock, "make run"):
        assert lock.read_text() == str(os.getpid())
