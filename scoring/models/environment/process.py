"""A child process in a model's environment, and the exchange of messages with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scoring.errors import ModelError, ScorerError
from scoring.models.environment.child import LENGTHS

PROGRAM = Path(__file__).with_name("child.py")
PASSED = ("PATH", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "TMPDIR", "TZ")
"""The only environment variables that a child has of ours, besides LC_* and those a job names."""

_LAST_SECONDS = 10  # for a child that has closed its pipe; without them its status is not known

Reply = tuple[dict[str, Any], bytes]


def variables(named: Sequence[str], threads: int) -> dict[str, str]:
    """Return the environment variables of a child: no secret of this process is among them."""
    found = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name in named or name.startswith("LC_")
    }
    # BLAS has one thread here as in this process: how many share a sum changes its last bits.
    single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"OMP_NUM_THREADS": str(threads), **single, **found}


def killed_by(status: int) -> str:
    """Say how a process was killed; ``status`` is its negative exit status."""
    memory = ", possibly out of memory" if -status == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-status).name}{memory}"


class ChildProcess:
    """One child; ``what`` is how messages name it.

    ``timeout_seconds`` is for each exchange.  A child that does not answer is killed.

    It leads a process group: what Airflow sends to the group of a task that it stops does not reach
    it, so the task can finish its work; and processes that the model starts are killed with it.
    """

    def __init__(
        self, python: Path, environment: Mapping[str, str], what: str, timeout_seconds: float
    ) -> None:
        self.pid_of_owner = os.getpid()
        self._what, self._timeout_seconds = what, timeout_seconds
        by_main_thread = threading.current_thread() is threading.main_thread()
        try:
            self._process = subprocess.Popen(
                [python, "-I", "-u", PROGRAM, str(os.getpid()), str(by_main_thread)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=dict(environment),
                close_fds=True,
                process_group=0,
            )
        except OSError as error:
            raise ModelError(f"{what}: {python} cannot be started: {error.strerror}") from None

    def ask(self, header: Mapping[str, Any], payload: Sequence[bytes | memoryview]) -> Reply:
        """Return the reply to a request.

        Raises ScorerError for a child that dies or does not answer.  After any exception, the child
        has ended.
        """
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._kill()

        timer = threading.Timer(self._timeout_seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            return self._exchange(header, payload)
        except (EOFError, BrokenPipeError):
            raise ScorerError(f"{self._what}: {self._end(expired.is_set())}") from None
        except BaseException:  # also an interrupt: a reply half read is not to be read on
            self.end()
            raise
        finally:
            timer.cancel()

    def _exchange(self, header: Mapping[str, Any], payload: Sequence[bytes | memoryview]) -> Reply:
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        text = json.dumps(header).encode()
        requests.write(LENGTHS.pack(len(text), sum(map(len, payload))) + text)
        for part in payload:
            requests.write(part)
        requests.flush()
        lengths = replies.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            raise EOFError
        sizes = LENGTHS.unpack(lengths)
        reply, data = replies.read(sizes[0]), replies.read(sizes[1])
        if (len(reply), len(data)) != sizes:
            raise EOFError
        return json.loads(reply), data

    def _end(self, expired: bool) -> str:
        """Return in words how the child has ended."""
        self.end(kill=expired)
        if expired:
            return (
                f"its process did not answer within {self._timeout_seconds:g} s "
                "(environment.timeout_seconds) and was killed"
            )
        status = self._process.returncode
        if status >= 0:
            return f"its process has ended with exit status {status}"
        return f"its process {killed_by(status)}"

    def end(self, kill: bool = True) -> None:
        """End the child, which does nothing that could be lost."""
        if os.getpid() != self.pid_of_owner or self._process.returncode is not None:
            return
        self.forget()
        if not kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_SECONDS)
        self._kill()
        self._process.wait()

    def _kill(self) -> None:
        """Kill the child and what it has started, which may hold the pipes open after its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def forget(self) -> None:
        """Close this process's ends of the pipes: of a forked one, whose parent uses the child."""
        for file in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not sent to a child that has ended
                assert file is not None
                file.close()
