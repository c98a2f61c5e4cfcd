"""`make containers`: docker-compose.yaml in real containers, and every month's bytes as on the
laptop.

It builds the images, waits for health, scores the job with three workers of which one is killed,
replaces all containers and scores a month again. Nothing stays running, and no volume; images are
kept.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from deploy.load_data import PARTS
from devstack.airflow.api import AirflowApi, NotReachable
from devstack.airflow.installation import UI_USER
from devstack.airflow.months import Months
from devstack.commands import compose as secrets_file
from devstack.commands.terminal import Terminal
from devstack.containers import base_images, comparison, engine, in_bucket
from devstack.containers.base_images import BaseImage
from devstack.containers.comparison import Month
from devstack.containers.compose import Project, replicas, services_that_build
from devstack.containers.engine import Engine
from devstack.containers.on_laptop import JOB
from devstack.errors import DevstackError
from devstack.home import REPOSITORY, Home
from devstack.services import predictions
from devstack.services.ports import free_port, port_of_ui
from devstack.supervise.lock import only_one
from devstack.supervise.signals import signals_ignored, signals_interrupt
from scoring.job.loader import load_job

PROJECT = "batch-scoring-check"
WORKERS = 3
SCORED_BEFORE_THE_KILL = 2
LOG_LINES = 15


_REQUEST = f"""
import json, os, sys, urllib.request
token = json.loads(os.environ["AIRFLOW_CONN_SERVICE"])["password"]
headers = {{"Content-Type": "application/json", "Authorization": "Bearer " + token}}
url = "http://127.0.0.1:8001/v1/jobs/{predictions.JOB}/predict"
request = urllib.request.Request(url, sys.argv[1].encode(), headers)
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


@dataclass(frozen=True)
class Phase:
    """A part of the check and how long it took."""

    name: str
    seconds: float


@dataclass
class Check:
    """One run of the check; `phases` grows with it."""

    home: Home
    terminal: Terminal
    engine: Engine
    phases: list[Phase] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.home.containers

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Say when it begins and how long it took."""
        began = self.terminal.seconds()
        self.terminal.step(f"{name} …")
        yield
        self.phases.append(Phase(name, self.terminal.seconds() - began))
        self.terminal.step(f"{name}: {self.phases[-1].seconds:.0f} s")


def find_engine(home: Home, terminal: Terminal) -> int:
    """Say which engine `containers` would take; exit status 1 and what was tried if there is none."""
    found = engine.find(home.containers)
    _forget_state(found)
    terminal.line(found.title)
    return 0


def containers(home: Home, terminal: Terminal) -> int:
    """Return the exit status; whatever was started has ended by then."""
    with signals_interrupt(), only_one(home.containers / "lock", "make containers"):
        found = engine.find(home.containers)
        terminal.step(f"engine: {found.title}")
        check = Check(home, terminal, found)
        project = _project(home, found)
        _take_down(check, project)  # what a killed call has left
        laptop = _start_laptop(home)
        try:
            return _run(check, project, laptop)
        except DevstackError:
            with suppress(DevstackError):
                project.save_logs(home.containers / "logs")
                terminal.line(f"logs of the containers: {home.containers / 'logs'}")
            raise
        finally:
            with signals_ignored():
                laptop.kill()
                laptop.wait()
                _take_down(check, project)
                _forget_state(found)
                terminal.step("everything is taken down")


def _run(check: Check, project: Project, laptop: "subprocess.Popen[bytes]") -> int:
    terminal = check.terminal
    job = load_job(REPOSITORY / "dags" / "jobs" / f"{JOB}.yaml").job
    with check.phase("base images"):
        dockerfile = (REPOSITORY / "Dockerfile").read_text()
        pinned = base_images.pinned_images(project.document, dockerfile)
        bases = base_images.provide(check.engine, pinned, terminal.step)
    with check.phase("images built"):
        project.build()
    with check.phase("months scored on the laptop"):
        expected = _laptops_months(check.folder, laptop)
    with check.phase("all healthy"):
        project.up()
    health = check.phases[-1].seconds
    with check.phase("flights and models loaded"):
        _load(project, check.folder / "data")
    with check.phase(f"{WORKERS} workers healthy"):
        project.set_workers("worker", WORKERS)
    password = _secrets(project.env_file)["UI_PASSWORD"]
    api = AirflowApi(f"http://127.0.0.1:{project.variables['UI_PORT']}", UI_USER, password)
    killer = Killer(project, api, terminal.step)
    months = Months(
        api,
        job,
        lambda: set(_published(project)),
        check.folder / "logs",
        killer.pause,
        terminal.step,
    )
    with check.phase("months scored, a worker killed meanwhile"):
        months.let_airflow_score()
        with terminal.months() as show:
            months.wait_until_scored(show)
        if killer.killed is None:
            raise DevstackError("all months were scored before a worker could be killed")
        project.wait_until_ready(["worker"])
    found = _published(project)
    wrong = comparison.differences(expected, found)
    if not wrong:
        with check.phase("all containers replaced"):
            project.down(volumes=False)
            project.up()
        with check.phase("a month scored again"):
            _score_again(months, api, terminal)
        found = _published(project)
        wrong = comparison.differences(expected, found)
    with check.phase("the service answers"):
        project.up_optional("serve")
        _ask(project)
    terminal.line(f"\nengine: {check.engine.title}")
    terminal.table(_sizes(check.engine, bases, sorted(services_that_build(project.document))))
    terminal.line()
    terminal.table(_durations(check.phases))
    terminal.line()
    terminal.table(comparison.table(expected, found))
    terminal.line(f"\n{health:.0f} s from `up` until all are healthy")
    if wrong:
        raise DevstackError("the containers' months are not the laptop's:\n  " + "\n  ".join(wrong))
    equal = len(expected)
    terminal.line(
        "\n"
        f"{equal} of {equal} months, sha256 as on the laptop, with {WORKERS} workers and one of "
        "them killed"
    )
    return 0


def _load(project: Project, data: Path) -> None:
    """The command of docs/compose.md."""
    command = ["python", "/opt/scoring/deploy/load_data.py", "/data"]
    said = project.run_once("worker", f"{data}:/data:ro", *command)
    loaded = [line for line in said.splitlines() if line.startswith("s3://")]
    files = [path for part in PARTS for path in (data / part).rglob("*.*")]
    if len(loaded) != len(files):
        raise DevstackError(f"{len(loaded)} of {len(files)} files were loaded:\n{said}")


def _ask(project: Project) -> None:
    """Ask the service for a prediction, with the token that its container has."""
    (container,) = project.containers("serve")
    said = project.exec(container, "python", "-", predictions.EXAMPLE, text=_REQUEST)
    (row,) = json.loads(said)["rows"]
    if row["status"] != "scored":
        raise DevstackError(f"the service gives no prediction: {said}")


@dataclass
class Killer:
    """Kills the worker that runs a task, once, when some months are scored and others are not."""

    project: Project
    api: AirflowApi
    say: Callable[[str], None]
    killed: str | None = None

    def pause(self, seconds: float) -> None:
        """What `Months` calls between two looks at Airflow."""
        if self.killed is None:
            with suppress(NotReachable):
                self._kill_one()
        time.sleep(seconds)

    def _kill_one(self) -> None:
        done = sum(run.state == "success" for run in self.api.runs(JOB))
        if done < SCORED_BEFORE_THE_KILL:
            return
        hosts = {task.hostname for task in self.api.task_instances(JOB, ["running"])}
        for worker in self.project.containers("worker"):
            if any(host and (worker.id.startswith(host) or host == worker.name) for host in hosts):
                try:
                    os.kill(worker.pid, signal.SIGKILL)
                except (PermissionError, ProcessLookupError):  # a daemon of another user or machine
                    self.project.engine.run("kill", worker.name)
                    self.project.engine.run("start", worker.name)
                self.killed = worker.name
                self.say(f"{worker.name} is killed, at work, with {done} months scored")
                return


def _project(home: Home, found: Engine) -> Project:
    env_file = home.containers / "env"
    env_file.unlink(missing_ok=True)
    secrets_file.write_env(env_file)
    file = REPOSITORY / "docker-compose.yaml"
    variables = {"UI_PORT": str(port_of_ui(None)), "SERVE_PORT": str(free_port())}
    project = Project(found, file, env_file, PROJECT, variables)
    project.scale.update(replicas(project.document))
    return project


def _start_laptop(home: Home) -> "subprocess.Popen[bytes]":
    """Beside the making of the images, which waits for the network and the disk."""
    data, result = home.containers / "data", home.containers / "laptop.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "devstack.containers.on_laptop", str(data), str(result)]
    with (home.containers / "laptop.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
        )


def _laptops_months(folder: Path, laptop: "subprocess.Popen[bytes]") -> dict[str, Month]:
    if laptop.wait() != 0:
        log = (folder / "laptop.log").read_text()
        raise DevstackError(f"scoring on this machine failed:\n{log}")
    return comparison.months_of((folder / "laptop.json").read_text())


def _published(project: Project) -> dict[str, Month]:
    """What lies in the bucket, read by a container: nothing outside reaches it."""
    scheduler = project.containers("scheduler")[0]
    script = Path(in_bucket.__file__).read_text()
    return comparison.months_of(project.exec(scheduler, "python", "-", JOB, text=script))


def _score_again(months: Months, api: AirflowApi, terminal: Terminal) -> None:
    """Whether the replaced containers remember all runs, and still score."""
    runs = [run for run in api.runs(JOB) if run.state == "success"]
    if len(runs) != len(months.published()):
        raise DevstackError(f"Airflow remembers {len(runs)} successful runs after the restart")
    api.run_again(JOB, runs[-1].run_id, only_failed_tasks=False)
    with terminal.months() as show:
        months.wait_until_scored(show)


def _secrets(env_file: Path) -> Mapping[str, str]:
    lines = [line for line in env_file.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def _sizes(of: Engine, bases: list[BaseImage], built: list[str]) -> Table:
    made = Table(box=None, pad_edge=False)
    for title in ("image", "MB", ""):
        made.add_column(title, justify="right" if title == "MB" else "left", no_wrap=True)
    origins = {base.name: base.origin for base in bases}
    origins |= dict.fromkeys(built, "built")
    for name, origin in origins.items():
        (image,) = of.inspect(name if origin == "built" else base_images.full_name(name))
        made.add_row(name, f"{image['Size'] / 1e6:,.0f}", origin)
    return made


def _durations(phases: list[Phase]) -> Table:
    made = Table(box=None, pad_edge=False)
    made.add_column("phase", no_wrap=True)
    made.add_column("s", justify="right", no_wrap=True)
    for phase in phases:
        made.add_row(phase.name, f"{phase.seconds:.0f}")
    return made


def _take_down(check: Check, project: Project) -> None:
    """Containers, networks and volumes; an engine that keeps nothing else is emptied of all of
    them.
    """
    of = check.engine
    if of.is_docker:
        project.down(volumes=True)
        return
    of.succeeds("rm", "--all", "--force", "--time", "2")
    of.succeeds("volume", "rm", "--all", "--force")
    of.succeeds("network", "prune", "--force")


def _forget_state(of: Engine) -> None:
    """Remove Podman's state below /run, and its mount on its storage, which `make clean` could not
    remove.
    """
    if of.is_docker:
        return
    storage, run = of.folders
    for mount in [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()][::-1]:
        if Path(mount).is_relative_to(storage) or Path(mount).is_relative_to(run):
            subprocess.run(["umount", mount], check=False, capture_output=True)
    shutil.rmtree(run, ignore_errors=True)
