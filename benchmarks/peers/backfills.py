"""The same backfill without Airflow: loops in the shell and in Python, a flow of Prefect, and its
deployment with a worker."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.measure import Timed, cpu_seconds, memory, timed
from benchmarks.peers.environments import environment
from benchmarks.peers.outputs import check_same, read
from benchmarks.running import end, free_port

PEERS = Path(__file__).parent
MONTHS = [f"{month:02d}" for month in range(2, 13)]
IDS = ("time_hour", "carrier", "flight", "origin")
READY_SECONDS = 120
POOL = "months"
AT_ONCE = "4"  # flow runs: as many months as Airflow has at a time in ours
# Both are Prefect's defaults but the pause between two looks for flow runs, which is 10 s.
WORKER = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_PREFETCH_SECONDS": "10"}

Services = AbstractContextManager[tuple[Mapping[str, str], list[int]]]
"""What runs before the clock starts: variables for the command, and the processes."""


@dataclass(frozen=True)
class Backfill:
    """``command`` writes a file for each month into ``target``, while ``services`` run.

    ``says_end``: the command prints the moment at which all was done. It has a while to go then, as
    the command has that creates Airflow's backfill.
    """

    name: str
    command: Sequence[str]
    target: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    services: Callable[[Mapping[str, str]], Services] | None = None
    says_end: bool = False

    def timed(self, ours: Path) -> Timed:
        """Return the whole process, with the CPU seconds of its services; exit if it has other
        predictions than ``ours``."""
        with self._running() as (more, services):
            before, started = sum(map(cpu_seconds, services)), time.time()
            found = timed(self.command, more)
            served = sum(map(cpu_seconds, services)) - before
        expected = sorted(ours.glob("month=????-??/predictions.parquet"))
        theirs = sorted(self.target.glob("*.parquet"))
        check_same(self.name, read(expected, IDS), read(theirs, IDS))
        wall = float(found.stdout) - started if self.says_end else found.wall_seconds
        return Timed(wall, found.cpu_seconds + served, found.stdout)

    def memory(self) -> dict[str, float]:
        with self._running() as (more, services):
            return memory(self.command, more, *services).figures()

    @contextmanager
    def _running(self) -> Iterator[tuple[Mapping[str, str], list[int]]]:
        """Yield the environment, and the processes of the services."""
        shutil.rmtree(self.target, ignore_errors=True)
        if self.services is None:
            yield self.environment, []
            return
        with self.services(self.environment) as found:
            yield found


def backfills(data: Path, folder: Path) -> list[Backfill]:
    """Return what is measured beside ours; ``folder`` has the models as joblib files."""
    flights = data / "flights"
    prefect = str(environment("prefect", folder) / "bin/python")
    server, worker = (partial(of, Path(prefect)) for of in (_prefect_server, _prefect_worker))
    # Its own database, as on a machine that has used Prefect before; it calls nobody.
    home = {"PREFECT_HOME": str(folder / "prefect-home"), "DO_NOT_TRACK": "1"}
    home["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

    def script(python: str, name: str, target: Path) -> list[str]:
        return [python, *map(str, (PEERS / name, folder, flights, target))]

    loop, flow = folder / "months-loop", folder / "months-prefect"
    deployed = folder / "months-deployment"
    one = script(sys.executable, "month_script.py", loop)
    each = script(prefect, "prefect_flow.py", flow)
    tasks = [*each, *MONTHS]
    where = map(str, (folder, flights, deployed))
    runs = [prefect, str(PEERS / "prefect_deployment.py"), "backfill", *where, *MONTHS]
    return [
        Backfill("script, a process for each month", _for_each_month(one), loop),
        Backfill("script, one process", [*one, *MONTHS], loop),
        Backfill("Prefect, deployment and worker", runs, deployed, home, worker, True),
        Backfill("Prefect, a process for each month", _for_each_month(each), flow, home, server),
        Backfill("Prefect, server running", tasks, flow, home, server),
        Backfill("Prefect, no server", tasks, flow, home),
    ]


def _for_each_month(command: Sequence[str]) -> list[str]:
    """Return a loop of the shell, as cron would start it month by month."""
    loop = f'for month in {" ".join(MONTHS)}; do {shlex.join(command)} "$month" || exit; done'
    return ["sh", "-c", loop]


@contextmanager
def _prefect_server(
    python: Path, settings: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], list[int]]]:
    """Run Prefect's server."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    with _started([_prefect(python), "server", "start", "--port", str(port)], settings) as server:
        _wait(lambda: _answers(f"{url}/health"), server, "the server of Prefect")
        time.sleep(5)  # its services start after it answers
        yield {**settings, "PREFECT_API_URL": url}, [server.pid]


@contextmanager
def _prefect_worker(
    python: Path, settings: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], list[int]]]:
    """Run Prefect's server and a worker of the deployment, which starts a process for each flow run."""
    with _prefect_server(python, {**settings, **WORKER}) as (served, servers):
        deploy = [str(python), str(PEERS / "prefect_deployment.py"), "deploy", POOL]
        pool = [_prefect(python), "work-pool", "create", POOL, "--type", "process", "--overwrite"]
        for command in (pool, deploy):
            timed(command, served)
        port = free_port()
        health = {"PREFECT_WORKER_WEBSERVER_PORT": str(port)}
        start = [_prefect(python), "worker", "start", "--pool", POOL, "--type", "process"]
        start += ["--limit", AT_ONCE, "--with-healthcheck"]
        with _started(start, {**served, **health}) as worker:
            _wait(lambda: _answers(f"http://127.0.0.1:{port}/health"), worker, "Prefect's worker")
            time.sleep(5)  # as the server's
            yield served, [*servers, worker.pid]


def _prefect(python: Path) -> str:
    return str(python.with_name("prefect"))


@contextmanager
def _started(
    command: Sequence[str], settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        end(process)


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"error: {name} is not ready")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    with suppress(URLError, OSError), urlopen(url, timeout=5) as answer:
        return bool(json.load(answer))
    return False
