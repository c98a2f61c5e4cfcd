"""Processes that end when this one ends, however it ends.

Each is started in a session of its own, so that Ctrl-C reaches only this process, which then ends
them in order. On Linux the kernel ends them if this process is killed. Anything left over all the
same (a killed scheduler's tasks, any process on macOS) is found by the next call in the file of
processes.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from devstack.home import REPOSITORY

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LEFTOVERS_GRACE_SECONDS = 2.0  # for processes of an interrupted call to end by themselves


@dataclass
class Service:
    """A running process, and how it was started."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_signal: signal.Signals
    process: subprocess.Popen[bytes]

    def exit_status(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self.process.poll()

    def last_lines(self, count: int = 15) -> str:
        """Return the end of its log, for an error message."""
        return last_lines(self.log, count)


def start(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Service:
    """Start a process whose output goes to the end of `log`. Call it from the main thread only: the
    kernel ends the process with the thread that started it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent(stop_signal),
        )
    return Service(name, command, environment, log, stop_signal, process)


def stop(services: Sequence[Service], grace_seconds: float) -> None:
    """End the processes and whatever they have started: all asked at once, killed after the grace."""
    sessions = [service.process.pid for service in services]
    for service in services:
        if service.exit_status() is None:
            service.process.send_signal(service.stop_signal)
    _, alive = psutil.wait_procs(_existing(sessions), timeout=grace_seconds)
    for process in alive:
        process.kill()
    _kill(_members(set(sessions)))
    for service in services:
        service.process.wait()


class Record:
    """The file of processes: what an interrupted call left running."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, services: Sequence[Service]) -> None:
        """Write the processes that are running now, atomically."""
        entries = []
        for service in services:
            for process in _existing([service.process.pid]):
                entries.append(
                    {"name": service.name, "pid": process.pid, "created": process.create_time()}
                )
        temporary = self.path.with_name(f".{self.path.name}.part")
        temporary.write_text(json.dumps(entries, indent=2) + "\n")
        temporary.replace(self.path)

    def end_leftovers(self) -> list[str]:
        """End the processes of the file that still run; return their names.

        A process that reuses the id of a dead one is left alone: its creation time differs.
        """
        try:
            entries = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return []
        ended: list[str] = []
        leaders: list[psutil.Process] = []
        orphans: list[psutil.Process] = []
        for entry in entries:
            leader = _existing([entry["pid"]])
            if leader and leader[0].create_time() != entry["created"]:
                continue
            members = [p for p in _members({entry["pid"]}) if p.create_time() >= entry["created"]]
            if leader or members:
                ended.append(entry["name"])
            leaders += leader
            orphans += members
        for process in leaders:
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        _, alive = psutil.wait_procs(leaders, timeout=LEFTOVERS_GRACE_SECONDS)
        _kill([*alive, *orphans])
        self.path.unlink(missing_ok=True)
        return ended


def last_lines(path: Path, count: int = 15) -> str:
    """Return the last lines of a text file; empty if there is no file."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""


def _existing(pids: Sequence[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _members(sessions: set[int]) -> list[psutil.Process]:
    """Return all processes of the sessions: a session keeps its id after the process that opened it
    has died.
    """
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) in sessions:
                found += _existing([pid])
        except (ProcessLookupError, PermissionError):
            continue
    return found


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes)


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what the child does before it becomes the command: ask the kernel for a signal when
    its parent dies.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec nothing may be imported
    parent = os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, int(stop_signal))
        if os.getppid() != parent:  # died before the call
            os._exit(1)

    return in_child
