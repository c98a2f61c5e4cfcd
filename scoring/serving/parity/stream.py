"""A stream as what a partition is compared with: rows into its topic, results and dead letters back.

The topics are shared with others: results of other jobs are passed over, and so are those of
messages that somebody else has sent.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scoring.destinations.manifest import Manifest
from scoring.errors import ServiceError, needs_extra
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.serving.parity.answered_rows import AnsweredRows, answers_of
from scoring.serving.parity.peer import Peer
from scoring.serving.parity.request_bodies import arrow_body, csv_body, json_rows
from scoring.serving.stream.address import TopicAddress
from scoring.serving.stream.client import check_topics, client_settings, describe, made

with needs_extra("stream", "streams"):
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

PATIENCE_SECONDS = 120.0
"""How long the answer to a message may take."""
_KEPT = 1_000_000
"""Answers that nobody has asked for yet: those to other people's messages are among them."""
_ASK_SECONDS = 15.0

Place = tuple[int, int]
Answer = dict[str, Any]


@dataclass(frozen=True)
class StreamOptions:
    """Which topics a stream reads and writes, and the Airflow connections to their brokers."""

    source: TopicAddress
    results: TopicAddress
    dead_letters: TopicAddress
    connection: str | None = None
    results_connection: str | None = None
    arrow: bool = False
    rows_per_request: int = 1_000
    connections: int = 4

    @contextmanager
    def open(self, job: Job, partition: Partition, manifest: Manifest) -> Iterator[Peer]:
        """Yield the stream, which scores with its own version, by its own rules."""
        stream = _Stream(self, job.name, manifest.model.version)
        try:
            yield stream
        finally:
            stream.close()


class _Stream:
    def __init__(self, options: StreamOptions, job: str, version: str) -> None:
        source = client_settings(options.source, options.connection)
        results = client_settings(options.results, options.results_connection or options.connection)
        self._results = [options.results.of_job(job), options.dead_letters.of_job(job)]
        check_topics(source, [options.source.topic])
        check_topics(results, [address.topic for address in self._results])
        self.url = str(options.source)
        self._topic = options.source.topic
        self._job, self._version = job, version
        self._producer = made(Producer, {"linger.ms": 5, **source, "acks": "all"}, logged=False)
        self._consumer = made(
            Consumer,
            {**results, "group.id": "scoring-parity", "enable.auto.commit": False},
        )
        self._consumer.assign(self._ends())
        self._answers: dict[Place, Answer] = {}
        self._news = threading.Condition()
        self._ended = False
        self._failure: str | None = None
        self._reading = threading.Thread(target=self._read, name="parity-results", daemon=True)
        self._reading.start()

    def ask(self, rows: pa.Table, kind: str, types: pa.Schema) -> AnsweredRows:
        places = self._send(_VALUES[kind](rows))
        answered = []
        for number, answer in enumerate(self._wait_for(places), 1):
            answered.append({**answer, "row": number})
        models = {(row.get("model_version"), row.get("model_sha256")) for row in answered}
        return answers_of(answered, sorted(models, key=str), rows.num_rows, types)

    def stop(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify_all()

    def close(self) -> None:
        """End the reading of results."""
        self.stop()
        self._reading.join()
        self._consumer.close()

    def _ends(self) -> list[TopicPartition]:
        """Return where the partitions of the results end: what is there already is not asked for."""
        found = []
        for address in self._results:
            topic = self._consumer.list_topics(address.topic, timeout=_ASK_SECONDS)
            for number in topic.topics[address.topic].partitions:
                place = TopicPartition(address.topic, number)
                _, high = self._consumer.get_watermark_offsets(place, timeout=_ASK_SECONDS)
                found.append(TopicPartition(address.topic, number, high))
        return found

    def _send(self, values: list[bytes]) -> list[Place]:
        """Return the places of messages with ``values``."""
        places: dict[int, Place] = {}
        refused: list[str] = []

        def delivered(number: int) -> Callable[[Any, Any], None]:
            def note(error: Any, message: Any) -> None:
                if error is not None:
                    refused.append(describe(error))
                else:
                    places[number] = (message.partition(), message.offset())

            return note

        for number, value in enumerate(values):
            while True:
                try:
                    self._producer.produce(self._topic, value, on_delivery=delivered(number))
                    break
                except BufferError:
                    self._producer.poll(0.1)
                except KafkaException as error:
                    raise ServiceError(
                        f"row {number + 1} cannot be sent to {self.url}: {describe(error)}"
                    ) from None
        until = time.monotonic() + PATIENCE_SECONDS
        while len(places) + len(refused) < len(values):
            self._producer.poll(0.1)
            if time.monotonic() > until or self._ended:
                raise ServiceError(
                    f"{self.url} does not take messages; see that its brokers are up"
                )
        if refused:
            raise ServiceError(f"{self.url} does not take messages: {refused[0]}")
        return [places[number] for number in range(len(values))]

    def _wait_for(self, places: list[Place]) -> list[Answer]:
        """Return the answers to the messages at ``places``, when all have arrived."""
        until = time.monotonic() + PATIENCE_SECONDS
        with self._news:
            while missing := sum(place not in self._answers for place in places):
                left = until - time.monotonic()
                if self._failure or self._ended or left <= 0:
                    raise ServiceError(self._why(missing, len(places)))
                self._news.wait(min(left, 1.0))
            return [self._answers.pop(place) for place in places]

    def _why(self, missing: int, count: int) -> str:
        if self._failure:
            return f"the results cannot be read: {self._failure}"
        if self._ended:
            return "the comparison has ended"
        results, dead = self._results
        return (
            f"{missing:,} of {count:,} messages in {self.url} got neither a result in {results.topic} nor "
            f"a dead letter in {dead.topic} within {PATIENCE_SECONDS:.0f} s. Start the stream: scoring "
            f"stream {self._job} --from {self.url} --to {results}"
        )

    def _read(self) -> None:
        """Take in results and dead letters until it is to end."""
        try:
            while not self._ended:
                found = [m for m in self._consumer.consume(5_000, 0.2) if m.error() is None]
                answers = [self._answer(message) for message in found]
                with self._news:
                    for answer in answers:
                        if answer is not None:
                            self._keep(*answer)
                    self._news.notify_all()
        except (KafkaException, ValueError) as error:
            self._failure = describe(error) if isinstance(error, KafkaException) else str(error)

    def _keep(self, place: Place, answer: Answer) -> None:
        """Keep an answer; of several the one of the published version, which others stand beside."""
        before = self._answers.get(place)
        if before is None or answer.get("model_version") == self._version:
            self._answers[place] = answer
        while len(self._answers) > _KEPT:
            del self._answers[next(iter(self._answers))]

    def _answer(self, message: Any) -> tuple[Place, Answer] | None:
        """Return what a result or a dead letter says, and of which message; None if of no job of
        this name.
        """
        if message.topic() == self._results[0].topic:
            found = json.loads(message.value())
        else:
            found = {name: value.decode() for name, value in message.headers() or ()}
            found |= {"status": "quarantined"}
            for name in ("column", "value"):
                found.setdefault(name, None)
        if (found.get("job"), found.get("source_topic")) != (self._job, self._topic):
            return None
        return (int(found["source_partition"]), int(found["source_offset"])), found


def _json_values(table: pa.Table) -> list[bytes]:
    return [row.encode() for row in json_rows(table)]


def _of_each_row(body: Callable[[pa.Table], Any]) -> Callable[[pa.Table], list[bytes]]:
    return lambda table: [body(table.slice(n, 1)).data for n in range(table.num_rows)]


_VALUES: dict[str, Callable[[pa.Table], list[bytes]]] = {
    "json": _json_values,
    "csv": _of_each_row(csv_body),
    "arrow": _of_each_row(arrow_body),
}
