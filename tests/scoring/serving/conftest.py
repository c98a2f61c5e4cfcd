from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.measured import module
from tests.scoring.factories import Place, rows

ROOT = Path(__file__).parents[3]
STARTING_SECONDS = 120


class Service:
    """A real ``scoring serve`` in a process of its own, and a client of it."""

    def __init__(self, place: Place, *options: str, env: dict[str, str] | None = None) -> None:
        self.log = place.folder / "service.log"
        command = [
            *module("scoring", "serve", "--jobs", str(place.folder)),
            *("--data", str(place.data), "--port", "0", "--watch-seconds", "1"),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *options], cwd=ROOT, stderr=log, env=os.environ | (env or {})
            )
        try:
            self.url = self._url()
            self.client = httpx.Client(base_url=self.url, timeout=60)
            self.wait(lambda: self.client.get("/readyz").status_code == 200)
        except BaseException:
            self.kill()
            raise

    def _url(self) -> str:
        """The address that it says it listens on."""
        found: list[str] = []

        def listening() -> bool:
            found[:] = re.findall(r"INFO (http://\S+),", self.log.read_text())
            return bool(found)

        self.wait(listening)
        return found[0]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Await a condition while the process lives."""
        for _ in range(STARTING_SECONDS * 20):
            with suppress(httpx.TransportError):
                if condition():
                    return
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
                raise AssertionError(f"the service has ended: {self.log.read_text()}")
        raise AssertionError(f"it did not come about: {self.log.read_text()}")

    def predict(self, rows: Any, job: str = "sample", **request: Any) -> httpx.Response:
        return self.client.post(f"/v1/jobs/{job}/predict", json=rows, **request)

    def stop(self) -> int:
        """End it as an operator does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


Start = Callable[..., Service]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts services of a test."""
    yield from _starting()


@pytest.fixture(scope="module")
def start_for_all() -> Iterator[Start]:
    """Starts services that the tests of a module share."""
    yield from _starting()


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with ten good rows and their model, for the tests of a module."""
    place = Place(tmp_path_factory.mktemp("place"))
    place.source(rows(10))
    place.model()
    return place


def _starting() -> Iterator[Start]:
    """Yield what starts services, and end what is left of them."""
    started: list[Service] = []

    def begin(place: Place, *options: str, env: dict[str, str] | None = None) -> Service:
        started.append(Service(place, *options, env=env))
        return started[-1]

    yield begin
    for service in started:
        service.client.close()
        if service.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                service.stop()
        service.kill()
