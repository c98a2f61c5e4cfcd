"""The container engine of this machine, found by trying: Docker, or Podman with podman-compose."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devstack.containers import podman_settings
from devstack.containers.host_settings import build_mounts
from devstack.errors import DevstackError

TRIAL_IMAGE = "localhost/batch-scoring-trial"
TRIAL_SECONDS = 60.0
OLDEST_DOCKER_COMPOSE = (2, 24)
CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65534")


class NoEngineError(DevstackError):
    """Neither Docker nor Podman can be used here; the message says what was tried."""


@dataclass(frozen=True)
class Engine:
    """A program that runs containers, its compose command, and the environment that both need."""

    title: str
    program: str
    compose: tuple[str, ...]
    environment: Mapping[str, str]
    build_environment: Mapping[str, str]
    is_docker: bool  # whose compose itself waits for what a service depends on
    folders: tuple[Path, ...] = field(default=())  # storage of this check alone

    def run(self, *arguments: str, build: bool = False, text: str | None = None) -> str:
        """The output of a call; DevstackError with the end of what it said if it failed."""
        return self.call([self.program, *arguments], build=build, text=text)

    def succeeds(self, *arguments: str) -> bool:
        """Whether a call ends with status 0."""
        with suppress(DevstackError):
            self.run(*arguments)
            return True
        return False

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """What the engine knows of containers or images."""
        found = json.loads(self.run("inspect", *names)) if names else []
        return list(found)

    def call(
        self,
        command: Sequence[str],
        *,
        build: bool = False,
        text: str | None = None,
        variables: Mapping[str, str] | None = None,
        merged: bool = False,
    ) -> str:
        """What a program prints in the engine's environment, with further `variables`; `merged`:
        its errors, too.
        """
        environment = self.build_environment if build else self.environment
        done = subprocess.run(
            command,
            env={**environment, **(variables or {})},
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # Ctrl-C reaches this process alone, which takes everything down
        )
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
            raise DevstackError(
                f"`{' '.join(command)}` ended with exit status {done.returncode}:\n{said}"
            )
        return done.stdout + (done.stderr if merged else "")


def find(folder: Path) -> Engine:
    """The first engine that runs a confined container; NoEngineError with every attempt otherwise."""
    attempts: list[str] = []
    for candidate in (_docker, _podman):
        found = candidate(folder, attempts)
        if found is not None:
            return found
    raise NoEngineError("no container engine can be used here:\n  " + "\n  ".join(attempts))


def runtime_folder(folder: Path) -> Path:
    """Podman's state until the next boot; below /run, as Podman recognizes a boot by it, and short,
    as sockets need.
    """
    return Path("/run") / f"batch-scoring-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def version_of(text: str) -> tuple[int, ...]:
    """The first version number in a program's output."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def _docker(folder: Path, attempts: list[str]) -> Engine | None:
    if shutil.which("docker") is None:
        attempts.append("Docker: the program `docker` is not installed")
        return None
    plain = dict(os.environ)
    engine = Engine("", "docker", ("docker", "compose"), plain, plain, is_docker=True)
    try:
        server = engine.run("version", "--format", "{{.Server.Version}}").strip()
        compose = engine.run("compose", "version", "--short").strip()
    except DevstackError as error:
        attempts.append(f"Docker: {str(error).splitlines()[-1]}")
        return None
    if version_of(compose) < OLDEST_DOCKER_COMPOSE:
        attempts.append(f"Docker: its compose is {compose}; 2.24 is needed")
        return None
    return Engine(
        f"Docker {server} with compose {compose}",
        "docker",
        engine.compose,
        plain,
        plain,
        is_docker=True,
    )


def _podman(folder: Path, attempts: list[str]) -> Engine | None:
    program = shutil.which("podman")
    compose = Path(sys.executable).with_name("podman-compose")
    if program is None or not compose.exists():
        what = "podman" if program is None else "podman-compose"
        attempts.append(
            f"Podman: the program `{what}` is not installed. Run: make setup-containers"
        )
        return None
    if os.geteuid() != 0:
        attempts.append("Podman: used as root only, and this is another user")
        return None
    programs = {name: shutil.which(name) for name in ("crun", "runc", "fuse-overlayfs")}
    for variant in podman_settings.variants(programs):
        engine = _podman_engine(folder, variant, program, compose)
        try:
            _try(engine)
        except (DevstackError, subprocess.TimeoutExpired) as error:
            attempts.append(f"Podman ({variant.name}): {str(error).splitlines()[-1]}")
            continue
        return engine
    if not any(programs.values()):
        attempts.append("Podman: neither crun nor runc is installed. Run: make setup-containers")
    return None


def _podman_engine(
    folder: Path, variant: podman_settings.Variant, program: str, compose: Path
) -> Engine:
    run = runtime_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "storage.conf": podman_settings.storage_conf(variant, folder, run),
        "registries.conf": podman_settings.registries_conf(),
        "run.conf": podman_settings.containers_conf(variant, folder, run),
        "build.conf": podman_settings.containers_conf(
            variant, folder, run, build_mounts(folder / "build")
        ),
        "podman": podman_settings.wrapper(program),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "podman").chmod(0o755)
    environment = {
        **os.environ,
        "CONTAINERS_CONF": str(folder / "run.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "DISABLE_HC_SYSTEMD": "true",  # health checks are called from here, not by systemd's timers
    }
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return Engine(
        f"{version.stdout.strip()} ({variant.name}) with podman-compose",
        program,
        (str(compose), "--podman-path", str(folder / "podman"), "--in-pod", "false"),
        environment,
        {
            **environment,
            "CONTAINERS_CONF": str(folder / "build.conf"),
            # CI builds once, and layers that nobody will reuse take it another minute to write.
            "BUILDAH_LAYERS": "false" if os.environ.get("CI") else "true",
        },
        is_docker=False,
        folders=(folder / "storage", run),
    )


def _try(engine: Engine) -> None:
    """Run `true` as the services are run: confined, and in a network with names."""
    archive = _smallest_system()
    done = subprocess.run(
        [engine.program, "import", "-", TRIAL_IMAGE],
        env=dict(engine.environment),
        input=archive,
        capture_output=True,
        check=False,
        timeout=TRIAL_SECONDS,
    )
    if done.returncode != 0:
        raise DevstackError(done.stderr.decode(errors="replace").strip() or "import failed")
    network = "batch-scoring-trial"
    if not engine.succeeds("network", "exists", network):
        engine.run("network", "create", "--internal", network)
    try:
        engine.run("run", "--rm", f"--network={network}", *CONFINED, TRIAL_IMAGE, "/bin/true")
    finally:
        engine.succeeds("network", "rm", "--force", network)


def _smallest_system() -> bytes:
    """A tar archive of `true` and the libraries that it needs."""
    listing = subprocess.run(["ldd", "/bin/true"], capture_output=True, text=True, check=False)
    paths = ["/bin/true", *re.findall(r"(/\S+) \(0x", listing.stdout)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in paths:
            archive.add(Path(path).resolve(), arcname=path.lstrip("/"))
        for folder in ("proc", "sys", "dev", "etc", "run"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    return buffer.getvalue()
