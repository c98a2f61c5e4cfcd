from __future__ import annotations

import json
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

from devstack.services import kafka
from tests import kafka_broker
from tests.kafka_broker import Broker, wait_until
from tests.measured import module
from tests.scoring.factories import Place

ROOT = Path(__file__).parents[4]
NOW = "2013-03-01"


class Stream:
    """A real ``scoring stream`` in a process of its own."""

    def __init__(
        self, place: Place, server: str, *options: str, extra: dict[str, Any] | None = None
    ) -> None:
        number = len(list(place.folder.glob("stream*.log")))
        self.log = place.folder / f"stream{number}.log"
        self.out = place.folder / f"stream{number}.json"
        # The broker of the tests lets a new group wait for half of its session timeout.
        settings = {
            "bootstrap.servers": server,
            "session.timeout.ms": 6000,
            **kafka.LOST_OTHERWISE,
            **(extra or {}),
        }
        connection = json.dumps({"conn_type": "kafka", "extra": settings})
        command = [
            *module("scoring", "stream", "--jobs", str(place.folder), "--data", str(place.data)),
            *("--connection-id", "kafka", "--watch-seconds", "1", "--json"),
        ]
        if "--now" not in options:
            command += ["--now", NOW]
        with self.log.open("ab") as log, self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, *options],
                cwd=ROOT,
                stderr=log,
                stdout=out,
                env=os.environ | {"AIRFLOW_CONN_KAFKA": connection},
            )

    def groups(self) -> dict[str, dict[str, Any]]:
        """The newest state of each group."""
        lines = self.out.read_text().rpartition("\n")[0].splitlines()
        return {g["group"]: g for g in json.loads(lines[-1])["groups"]} if lines else {}

    def group(self, name: str = "scoring.sample") -> dict[str, Any]:
        return self.groups().get(name, {"messages": {}, "problem": None, "lag": {}})

    def total(self, name: str = "scoring.sample") -> int:
        return sum(self.group(name)["messages"].values())

    def wait(self, condition: Callable[[], bool]) -> None:
        """Await a condition while the process lives."""

        def holds() -> bool:
            with suppress(httpx.TransportError):
                if condition():
                    return True
            assert self.process.poll() is None, f"it has ended: {self.log.read_text()}"
            return False

        wait_until(holds, lambda: f"{self.groups()}\n{self.log.read_text()}")

    def metrics(self) -> str:
        """What its port for metrics answers."""
        return httpx.get(f"{self.url()}/metrics").text

    def url(self) -> str:
        found: list[str] = []

        def listening() -> bool:
            found[:] = re.findall(r"metrics at (http://\S+)/metrics", self.log.read_text())
            return bool(found)

        self.wait(listening)
        return found[0]

    def stop(self) -> int:
        """End it as an operator does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def end(self) -> int:
        """Its exit status, when it has come to the end of the messages."""
        return self.process.wait(kafka_broker.SECONDS)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


Start = Callable[..., Stream]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of Kafka's protocol, which knows no member of another test's group."""
    with kafka_broker.running(tmp_path) as found:
        yield found


@pytest.fixture
def topic(broker: Broker, request: pytest.FixtureRequest) -> str:
    """A topic of two partitions for one test, with those of its results beside it."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60].strip("-")
    out = f"{name}-out"
    broker.create({name: 2, out: 2, f"{out}.dead-letters": 1})
    return name


@pytest.fixture
def start(broker: Broker) -> Iterator[Start]:
    """Starts streams of a test."""
    started: list[Stream] = []

    def begin(
        place: Place, topic: str, *options: str, server: str | None = None, **more: Any
    ) -> Stream:
        topics = ("--from", f"kafka:///{topic}")
        if "--to" not in options and "--archive" not in options:
            topics += ("--to", f"kafka:///{topic}-out")
        found = Stream(place, server or broker.server, *topics, *options, **more)
        started.append(found)
        return found

    yield begin
    for stream in started:
        if stream.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                stream.stop()
        stream.kill()
