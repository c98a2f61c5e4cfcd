"""Keep processes running: one that dies is restarted, one that keeps dying is an error."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devstack.errors import DevstackError
from devstack.supervise import processes

MAX_RESTARTS = 5  # of one process within RESTART_WINDOW_SECONDS
RESTART_WINDOW_SECONDS = 120.0
START_TIMEOUT_SECONDS = 120.0  # Airflow's slowest process takes 20 s on two cores
GRACE_SECONDS = 1.0  # for what a finished process has left behind


class NotYet(Exception):
    """Something that a process needs is still missing; the next `watch` tries to restart it again."""


@dataclass
class Supervisor:
    """The processes of one session. Call `watch` repeatedly: only there are deaths noticed."""

    record: processes.Record
    say: Callable[[str], None]
    services: list[processes.Service] = field(default_factory=list)
    _before_start: dict[str, Callable[[], None]] = field(default_factory=dict)
    _dead: set[str] = field(default_factory=set)  # noticed, and not yet restarted
    _deaths: dict[str, list[float]] = field(default_factory=dict)

    def start_once(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> processes.Service:
        """Start a process that does one thing and ends; `wait_for` returns when it has."""
        return self._add(processes.start(name, command, environment, log))

    def wait_for(self, service: processes.Service) -> None:
        """Return when a process of `start_once` has succeeded; DevstackError with the end of its
        log if it failed.
        """
        while (status := service.exit_status()) is None:
            self.watch()
        self.end([service.name], GRACE_SECONDS)
        if status != 0:
            raise DevstackError(
                f"{service.name} failed with exit status {status}; its log {service.log} ends "
                "with:\n"
                f"{service.last_lines()}"
            )

    def keep_running(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        before_start: Callable[[], None] = lambda: None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> processes.Service:
        """Start a process, and restart it whenever it dies.

        `before_start` is called before every start; before a restart it may raise NotYet.
        """
        self._before_start[name] = before_start
        before_start()
        return self._add(processes.start(name, command, environment, log, stop_signal))

    def wait_until(
        self, answers: Callable[[], bool], name: str, log: Path, pause_seconds: float = 0.1
    ) -> None:
        """Return when a service that is kept running answers; `pause_seconds` lie between two
        questions.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not answers():
            if time.monotonic() > deadline:
                raise DevstackError(
                    f"the {name} does not answer after {START_TIMEOUT_SECONDS:.0f} s; its log "
                    f"{log} ends with:\n"
                    f"{processes.last_lines(log)}"
                )
            self.watch(pause_seconds)

    def watch(self, seconds: float = 0.2) -> None:
        """Restart dead processes, then sleep for this long."""
        for index, service in enumerate(self.services):
            status = service.exit_status()
            if status is None or service.name not in self._before_start:
                continue
            if service.name not in self._dead:
                self._dead.add(service.name)
                self._note_death(service, status)
                processes.stop(
                    [service], 0
                )  # what it had started, such as a dead scheduler's tasks
            try:
                self._before_start[service.name]()
            except NotYet:
                continue
            self._dead.remove(service.name)
            self.services[index] = processes.start(
                service.name,
                service.command,
                service.environment,
                service.log,
                service.stop_signal,
            )
            self.record.write(self.services)
        time.sleep(seconds)

    def end(self, names: Sequence[str], grace_seconds: float) -> None:
        """End the named processes together; kill what is left of them after the grace period."""
        ending = [service for service in self.services if service.name in names]
        processes.stop(ending, grace_seconds)
        self.services = [service for service in self.services if service not in ending]
        self.record.write(self.services)

    def _add(self, service: processes.Service) -> processes.Service:
        self.services.append(service)
        self.record.write(self.services)
        return service

    def _note_death(self, service: processes.Service, status: int) -> None:
        now = time.monotonic()
        recent = [
            at for at in self._deaths.get(service.name, []) if now - at < RESTART_WINDOW_SECONDS
        ]
        self._deaths[service.name] = [*recent, now]
        if len(recent) >= MAX_RESTARTS:
            raise DevstackError(
                f"the {service.name} has ended {len(recent) + 1} times within "
                f"{RESTART_WINDOW_SECONDS:.0f} s, now with exit status {status}. Its log "
                f"{service.log} ends with:\n"
                f"{service.last_lines()}"
            )
        self.say(
            f"the {service.name} ended (exit status {status}) and is restarted; its log: "
            f"{service.log}"
        )
