"""A real broker of Kafka's protocol for tests, and what they ask of it: topics, messages, restarts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from devstack.services import kafka
from devstack.services.kafka import KafkaBroker
from devstack.services.object_store import ObjectStore
from devstack.services.ports import free_port

QUIET = {"log_level": 2}
"""Of clients: brokers are killed here, and each attempt to connect would be a line on the terminal."""
SECONDS = 120
"""How long a test waits for what should come about at once."""


@dataclass(frozen=True)
class Got:
    """A message that was read."""

    key: str
    value: bytes
    headers: dict[str, str]
    partition: int
    offset: int


class Broker(KafkaBroker):
    """A broker in a process of its own; ``kill`` and ``start`` restart it."""

    process: subprocess.Popen[bytes]

    def start(self, log: Path, store: ObjectStore | None, advertised: str | None = None) -> Broker:
        with log.open("ab") as file:
            process = subprocess.Popen(
                kafka.command(self, store, advertised),
                env=kafka.environment(store),
                stdout=file,
                stderr=file,
            )
        object.__setattr__(self, "process", process)
        return self

    def wait(self) -> Broker:
        wait_until(self.answers, lambda: f"the broker has ended: {self.process.poll()}")
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def produce(
        self,
        topic: str,
        values: Iterable[bytes | str | None],
        keys: Iterable[Any] = (),
        **more: Any,
    ) -> list[tuple[int, int]]:
        """Send messages; returns the place of each: its partition and offset."""
        producer = Producer({**QUIET, "bootstrap.servers": self.server, "linger.ms": 20})
        places: list[tuple[int, int]] = []
        found: dict[int, tuple[int, int]] = {}
        given, count = iter(keys), 0
        for number, value in enumerate(values):
            count += 1

            def delivered(error: Any, message: Any, number: int = number) -> None:
                assert error is None, error
                found[number] = (message.partition(), message.offset())

            while True:
                try:
                    producer.produce(topic, value, next(given, None), on_delivery=delivered, **more)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(SECONDS) == 0
        places = [found[number] for number in range(count)]
        return places

    def read(
        self,
        topic: str,
        enough: Callable[[list[Got]], bool],
        isolation: str = "read_committed",
        seconds: float = SECONDS,
    ) -> list[Got]:
        """All messages of a topic from its beginning, when there are ``enough``."""
        consumer = Consumer(
            {
                **QUIET,
                "bootstrap.servers": self.server,
                "group.id": "tests",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": isolation,
            }
        )
        got: list[Got] = []
        until = time.monotonic() + seconds
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            while not enough(got):
                assert time.monotonic() < until, f"{len(got)} messages of {topic}: {got[-3:]}"
                for message in consumer.consume(5_000, 0.2):
                    if message.error() is None:
                        headers = {name: text.decode() for name, text in message.headers() or ()}
                        key = (message.key() or b"").decode()
                        place = (message.partition(), message.offset())
                        got.append(Got(key, message.value() or b"", headers, *place))
        finally:  # its threads are not there in a process that a later test forks, which would abort
            consumer.close()
        return got

    def committed(self, group: str, topic: str, partitions: int) -> dict[int, int]:
        consumer = Consumer({**QUIET, "bootstrap.servers": self.server, "group.id": group})
        found = consumer.committed([TopicPartition(topic, n) for n in range(partitions)], 10)
        consumer.close()
        return {place.partition: place.offset for place in found if place.offset >= 0}


def drained(seconds: float = 5.0) -> Callable[[list[Got]], bool]:
    """Whether nothing has come for so long: for what a test says about its failure."""
    last = [0, time.monotonic()]

    def quiet(got: list[Got]) -> bool:
        if len(got) != last[0]:
            last[:] = [len(got), time.monotonic()]
        return time.monotonic() - last[1] > seconds

    return quiet


def at_least(count: int) -> Callable[[list[Got]], bool]:
    return lambda got: len(got) >= count


def wait_until(
    condition: Callable[[], bool], why: Callable[[], str], seconds: float = SECONDS
) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, why()
        time.sleep(0.05)


@contextmanager
def running(folder: Path, store: ObjectStore | None = None) -> Iterator[Broker]:
    broker = Broker(free_port()).start(folder / "broker.log", store).wait()
    try:
        yield broker
    finally:
        broker.kill()
