"""The same backfill without Airflow: loops in the shell and in Python, and a flow of Prefect."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Backfill:
    """``command`` writes a file for each month into ``target``; ``served`` by a server of Prefect."""

    name: str
    command: Sequence[str]
    target: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    served: bool = False

    def timed(self, ours: Path) -> Timed:
        """Return the whole process, with the CPU seconds of its server; exit if it has other
        predictions than ``ours``."""
        with self._running() as (more, servers):
            before = sum(map(cpu_seconds, servers))
            found = timed(self.command, more)
            served = sum(map(cpu_seconds, servers)) - before
        expected = sorted(ours.glob("month=????-??/predictions.parquet"))
        theirs = sorted(self.target.glob("*.parquet"))
        check_same(self.name, read(expected, IDS), read(theirs, IDS))
        return Timed(found.wall_seconds, found.cpu_seconds + served, found.stdout)

    def memory(self) -> dict[str, float]:
        with self._running() as (more, servers):
            return memory(self.command, more, *servers).figures()

    @contextmanager
    def _running(self) -> Iterator[tuple[Mapping[str, str], list[int]]]:
        """Yield the environment, and the server's process if there is one."""
        shutil.rmtree(self.target, ignore_errors=True)
        if not self.served:
            yield self.environment, []
            return
        with _prefect_server(Path(self.command[0]).with_name("prefect"), self.environment) as found:
            url, server = found
            yield {**self.environment, "PREFECT_API_URL": url}, [server]


def backfills(data: Path, folder: Path) -> list[Backfill]:
    """Return what is measured beside ours; ``folder`` has the models as joblib files."""
    flights = data / "flights"
    prefect = str(environment("prefect", folder) / "bin/python")
    # Its own database, as on a machine that has used Prefect before; it calls nobody.
    home = {"PREFECT_HOME": str(folder / "prefect-home"), "DO_NOT_TRACK": "1"}
    home["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

    def script(python: str, name: str, target: Path) -> list[str]:
        return [python, *map(str, (PEERS / name, folder, flights, target))]

    loop, flow = folder / "months-loop", folder / "months-prefect"
    one = script(sys.executable, "month_script.py", loop)
    of_shell = f'for month in {" ".join(MONTHS)}; do {shlex.join(one)} "$month" || exit; done'
    tasks = [*script(prefect, "prefect_flow.py", flow), *MONTHS]
    return [
        Backfill("script, a process for each month", ["sh", "-c", of_shell], loop),
        Backfill("script, one process", [*one, *MONTHS], loop),
        Backfill("Prefect, server running", tasks, flow, home, served=True),
        Backfill("Prefect, no server", tasks, flow, home),
    ]


@contextmanager
def _prefect_server(program: Path, settings: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the URL of a running server and its process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [str(program), "server", "start", "--port", str(port)]
    server = subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(f"{url}/health"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("error: the server of Prefect is not ready")
            time.sleep(0.2)
        time.sleep(5)  # its services start after it answers
        yield url, server.pid
    finally:
        end(server)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(json.load(answer))
    except (URLError, OSError):
        return False
