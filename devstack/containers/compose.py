"""docker-compose.yaml as it stands, brought up and taken down by an engine."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from devstack.containers.engine import Engine
from devstack.errors import DevstackError

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
START_SECONDS = 600.0  # a hang, not a measure: a start takes a minute
GRACE_SECONDS = 20  # a worker with tasks would take ten minutes
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Container:
    """One container, and what the engine knows of it."""

    name: str
    service: str
    id: str
    running: bool
    exit_status: int
    pid: int
    health: str

    @staticmethod
    def of(found: Mapping[str, Any]) -> "Container":
        """From what `inspect` prints."""
        state = found["State"]
        return Container(
            name=str(found["Name"]).lstrip("/"),
            service=found["Config"]["Labels"][SERVICE_LABEL],
            id=found["Id"],
            running=bool(state["Running"]),
            exit_status=int(state["ExitCode"]),
            pid=int(state["Pid"]),
            health=str((state.get("Health") or {}).get("Status", "")),
        )


@dataclass(frozen=True)
class Project:
    """One copy of the services, with a name, secrets and a port of its own."""

    engine: Engine
    file: Path
    env_file: Path
    name: str
    variables: Mapping[str, str]
    scale: dict[str, int] = field(default_factory=dict)

    @cached_property
    def document(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.file.read_text()))

    def build(self) -> None:
        """Build each image once, though several services have it."""
        self._compose("build", *services_that_build(self.document).values(), build=True)

    def up(self) -> None:
        """Start everything, each service when those that it depends on are ready, and wait until
        all are healthy.
        """
        for wave in waves(self.document) if not self.engine.is_docker else [[]]:
            self._up(wave)
            self.wait_until_ready(wave or list(by_default(self.document)))

    def up_optional(self, service: str) -> None:
        """Start a service that has a profile of its name, and wait until it is healthy."""
        self._up([service], profile=service)
        self.wait_until_ready([service])

    def set_workers(self, service: str, count: int) -> None:
        """Start further containers of a service, and wait until they are healthy."""
        self.scale[service] = count
        self._up([service])
        self.wait_until_ready([service])

    def run_once(self, service: str, volume: str, *command: str) -> str:
        """The output of a command in a new container of a service, with a folder of the host."""
        return self._compose("run", "--rm", "--volume", volume, service, *command)

    def exec(self, container: Container, *command: str, text: str | None = None) -> str:
        """The output of a command in a running container; `text` is its standard input."""
        return self.engine.run("exec", "--interactive", container.name, *command, text=text)

    def down(self, volumes: bool) -> None:
        """Stop and remove all containers and networks, and what they have kept if `volumes` says
        so.
        """
        options = ["--timeout", str(GRACE_SECONDS), *(["--volumes"] if volumes else [])]
        self._compose("down", *options)

    def containers(self, service: str | None = None) -> list[Container]:
        """The containers, by name."""
        label = f"label={PROJECT_LABEL}={self.name}"
        ids = self.engine.run("ps", "--all", "--quiet", "--filter", label).split()
        found = [Container.of(each) for each in self.engine.inspect(*ids)]
        wanted = [each for each in found if service in (None, each.service)]
        return sorted(wanted, key=lambda each: each.name)

    def wait_until_ready(self, services: Sequence[str]) -> None:
        """Return when their containers are healthy, and those that run once have succeeded."""
        deadline = time.monotonic() + START_SECONDS
        while missing := self.not_ready(services):
            if time.monotonic() > deadline:
                raise DevstackError(
                    f"not healthy after {START_SECONDS:.0f} s: {', '.join(missing)}"
                )
            time.sleep(POLL_SECONDS)

    def not_ready(self, services: Sequence[str]) -> list[str]:
        """What is missing, each with its state."""
        described = self.document["services"]
        found = self.containers()
        missing = []
        for service in services:
            once = "healthcheck" not in described[service]
            of_service = [each for each in found if each.service == service]
            wanted = self.scale.get(service, 1)
            if len(of_service) != wanted:
                missing.append(f"{service}: {len(of_service)} of {wanted} containers")
            for each in of_service:
                if once and (each.running or each.exit_status != 0):
                    missing.append(f"{each.name}: exit status {each.exit_status}")
                elif not once and not (each.running and self._is_healthy(each)):
                    missing.append(each.name)
        return missing

    def save_logs(self, folder: Path) -> None:
        """Write what each container has printed, to find the reason of a failure."""
        folder.mkdir(parents=True, exist_ok=True)
        for each in self.containers():
            (folder / f"{each.name}.log").write_text(
                self.engine.call([self.engine.program, "logs", each.name], merged=True)
            )

    def _is_healthy(self, container: Container) -> bool:
        """By the engine's own timer, or by a call of the same check where no systemd runs Podman's
        timers.
        """
        if self.engine.is_docker:
            return container.health == "healthy"
        return self.engine.succeeds("healthcheck", "run", container.name)

    def _up(self, services: Sequence[str], profile: str | None = None) -> None:
        scales = [
            word for name, count in self.scale.items() for word in ("--scale", f"{name}={count}")
        ]
        # podman-compose would run what a service depends on again, though it is done.
        alone = [] if self.engine.is_docker else ["--no-deps"]
        options = ["--detach", "--no-build", *alone, *scales]
        self._compose("up", *options, *services, profile=profile)

    def _compose(self, *arguments: str, build: bool = False, profile: str | None = None) -> str:
        files = ["--file", str(self.file), "--env-file", str(self.env_file)]
        options = [*files, "--project-name", self.name]
        options += ["--profile", profile] if profile else []
        command = [*self.engine.compose, *options, *arguments]
        return self.engine.call(command, build=build, variables=self.variables)


def by_default(document: Mapping[str, Any]) -> dict[str, Any]:
    """The services that are started when none is named: those without a profile."""
    services: Mapping[str, Any] = document["services"]
    return {name: service for name, service in services.items() if "profiles" not in service}


def waves(document: Mapping[str, Any]) -> list[list[str]]:
    """The services in the order of their start: each stands after all that it depends on."""
    left: dict[str, set[str]] = {
        name: set(service.get("depends_on", {})) for name, service in by_default(document).items()
    }
    ordered: list[list[str]] = []
    while left:
        ready = [name for name, needs in left.items() if not needs & left.keys()]
        if not ready:
            raise DevstackError(f"services depend on each other: {', '.join(left)}")
        ordered.append(ready)
        left = {name: needs for name, needs in left.items() if name not in ready}
    return ordered


def replicas(document: Mapping[str, Any]) -> dict[str, int]:
    """How many containers each service has that says so; those with a profile ask a variable."""
    found = {}
    for name, service in by_default(document).items():
        if "replicas" in service.get("deploy", {}):
            found[name] = int(service["deploy"]["replicas"])
    return found


def services_that_build(document: Mapping[str, Any]) -> dict[str, str]:
    """Every image that is built here, with the first service that has it."""
    first: dict[str, str] = {}
    for name, service in document["services"].items():
        if "build" in service:
            first.setdefault(service["image"], name)
    return first
