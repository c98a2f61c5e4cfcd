"""Messages of a Kafka topic: `scoring stream` beside loops written by hand, with one model.

The broker has one core, the program that is measured the other one. The programs are measured in
turn, several times, and have to send the same predictions for the same messages, to the bit. Rates
come from the times that the results themselves carry, in the same way for all.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from benchmarks.running import ONE_THREAD, end
from benchmarks.serving import COLUMNS, MONTH, VERSION, growth
from devstack.services import kafka
from devstack.services.kafka import KafkaBroker
from devstack.services.ports import free_port
from examples.paths import model_path, month_path

MESSAGES = 300_000
ROW_BY_ROW = 3_000  # of them; each takes the model as long as a hundred in one table
NOW = "2013-12-20"  # VERSION is in force
SOURCE, PARTITIONS = "flights", 4
WARM_UP = 10  # the first one of so many parts of the results is not counted
SAMPLE_SECONDS = 0.1
READY_SECONDS = 60
RUN_SECONDS = 1_800
OURS, BATCHED, ROWS = "scoring stream", "batched loop", "row by row"


@dataclass(frozen=True)
class Ran:
    """A program that has ended; ``samples`` are (when, CPU seconds until then, resident bytes)."""

    samples: list[tuple[float, float, int]]

    def cpu_seconds(self, begin: float, end: float) -> float:
        """Return what the program used between two moments."""
        moments, used, _ = zip(*self.samples, strict=True)
        first, last = np.interp([begin, end], moments, used)
        return float(last - first)

    def resident(self, begin: float, end: float) -> list[int]:
        """Return the samples of its memory between two moments."""
        return [size for moment, _, size in self.samples if begin <= moment <= end]


@dataclass(frozen=True)
class Span:
    """From the first tenth of the results to the last one: how many, and from when to when.

    What a program needs until it runs evenly is left out: its start, the wait for the group, the
    first batches.
    """

    results: int
    begin: float
    end: float

    @classmethod
    def of(cls, stamps: Sequence[int]) -> Span:
        """Return that of results with these ``stamps``, in milliseconds."""
        ordered = sorted(stamps)
        first = len(ordered) // WARM_UP
        return cls(len(ordered) - 1 - first, ordered[first] / 1000, ordered[-1] / 1000)

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Bench:
    """The messages, the model, and the broker, which ends with the block of ``broker``."""

    def __init__(self, data: Path, job_file: Path, folder: Path) -> None:
        from scoring.job.loader import load_job

        subprocess.run(
            [sys.executable, "-m", "examples", "--data", data], check=True, stdout=sys.stderr
        )
        self.folder = folder / "streaming"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data, self.job_file = data, job_file
        config = load_job(job_file).job.model
        assert config is not None
        self.trusted = config.trusted_types
        self.values = _values(month_path(data, MONTH))
        cores = sorted(os.sched_getaffinity(0))
        self.core, self.broker_core = cores[0], cores[-1]

    @contextlib.contextmanager
    def broker(self, messages: int) -> Iterator[KafkaBroker]:
        """Start a broker that has so many messages, and keeps all in memory."""
        broker, log = KafkaBroker(free_port()), self.folder / "broker.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                kafka.command(broker, None),
                env=kafka.environment(None),
                stdout=output,
                stderr=output,
                preexec_fn=lambda: os.sched_setaffinity(0, {self.broker_core}),
            )
        try:
            until = time.monotonic() + READY_SECONDS
            while not broker.answers():
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"error: the broker is not ready; {log} says why")
            _produce(broker, islice(cycle(self.values), messages))
            yield broker
        finally:
            end(process)

    def command(self, name: str, broker: KafkaBroker, target: str, messages: int) -> list[str]:
        """Return the command of a program that sends to the topic ``target``."""
        if name == OURS:
            stream = [sys.executable, "-m", "scoring", "stream", str(self.job_file), "--data"]
            stream += [str(self.data), "--from", f"kafka:///{SOURCE}", "--to", f"kafka:///{target}"]
            stream += ["--connection-id", "bench", "--group", target, "--now", NOW]
            return [*stream, "--until-end"]
        loop = [sys.executable, "-m", "benchmarks.peers.stream_loops"]
        loop += ["batches" if name == BATCHED else "rows", broker.server, SOURCE, target]
        return [*loop, str(messages), str(model_path(self.data, VERSION)), *self.trusted]

    def run(self, name: str, broker: KafkaBroker, target: str, messages: int) -> Ran:
        """Run a program to its end on its core; a failure ends the benchmark with what it said."""
        broker.create(dict.fromkeys((target, _dead_letters(target)), PARTITIONS))
        print(f"  {name} …", file=sys.stderr)
        # With the default of 45 s, this broker lets a new member of a group wait for 22 s.
        extra = {"bootstrap.servers": broker.server, "session.timeout.ms": 6_000}
        connection = json.dumps({"conn_type": "kafka", "extra": extra})
        log = self.folder / f"{name.replace(' ', '_')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(name, broker, target, messages),
                env={**os.environ, **ONE_THREAD, "AIRFLOW_CONN_BENCH": connection},
                stdout=output,
                stderr=output,
                preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),
            )
        try:
            samples = list(_samples(process))
        finally:
            end(process)
        if process.returncode:
            said = log.read_text(errors="replace")[-3000:]
            raise SystemExit(f"error: {name} ended with {process.returncode}:\n{said}")
        return Ran(samples)


def run(data: Path, job_file: Path, folder: Path, messages: int, rounds: int) -> dict[str, object]:
    """Measure all programs in turn, ``rounds`` times, and the memory of ours over ``messages``."""
    bench = Bench(data, job_file, folder)
    measured: dict[str, list[dict[str, float]]] = {OURS: [], BATCHED: [], ROWS: []}
    with bench.broker(MESSAGES) as broker:
        for number in range(rounds):
            expected: dict[tuple[int, int], float] = {}
            for name, found in measured.items():
                target = f"{name.replace(' ', '-')}.{number}"
                count = ROW_BY_ROW if name == ROWS else MESSAGES
                ran = bench.run(name, broker, target, count)
                stamps, predictions = _predictions(broker, target)
                if name == OURS:
                    expected = predictions
                    _check_all(broker, target, len(stamps), MESSAGES)
                elif not _same(predictions, expected, whole=name == BATCHED):
                    raise SystemExit(f"error: the predictions of {OURS} and of the {name} differ")
                found.append(_figures(ran, Span.of(stamps), count / len(stamps)))
    ours, batched, rows = measured.values()
    return {
        "messages": MESSAGES,
        "same_predictions": True,  # else it has ended above
        **{
            f"{name}_{figure}": round(median(one[figure] for one in found), 3)
            for name, found in (("ours", ours), ("batched_loop", batched), ("row_by_row", rows))
            for figure in found[0]
        },
        "ratio_to_batched_loop": _ratio(ours, batched),
        "ratio_to_row_by_row": _ratio(ours, rows),
        "rounds": measured,
        "memory": _memory(bench, messages),
    }


def _memory(bench: Bench, messages: int) -> dict[str, float]:
    """Return the memory of ours after the first tenth of ``messages``, and at most after it."""
    with bench.broker(messages) as broker:
        ran = bench.run(OURS, broker, "memory", messages)
        stamps = [message.timestamp()[1] for message in _read(broker, "memory")]
        _check_all(broker, "memory", len(stamps), messages)
    span = Span.of(stamps)
    sizes = ran.resident(span.begin, span.end)
    return {
        "messages": messages,
        "per_second": round(span.results / span.seconds * messages / len(stamps)),
        "after_first_tenth_mb": round(sizes[0] / 1e6, 1),
        "largest_after_that_mb": round(max(sizes) / 1e6, 1),
        "ratio": round(max(sizes) / sizes[0], 3),
        "last_third_beside_first": round(growth(sizes), 3),
    }


def _figures(ran: Ran, span: Span, messages_per_result: float) -> dict[str, float]:
    """Return rates in messages; a core that is used for less than all the time waits for the broker."""
    messages = span.results * messages_per_result
    cpu = ran.cpu_seconds(span.begin, span.end)
    return {
        "per_second": round(messages / span.seconds),
        "cpu_seconds_per_million": round(cpu / messages * 1e6, 1),
        "share_of_core": round(cpu / span.seconds, 2),
    }


def _ratio(
    ours: Sequence[Mapping[str, float]], peer: Sequence[Mapping[str, float]]
) -> dict[str, object]:
    """Return our rate divided by a peer's: more is better."""
    ratios = [a["per_second"] / b["per_second"] for a, b in zip(ours, peer, strict=True)]
    return {"median": round(median(ratios), 2), "all": [round(ratio, 2) for ratio in ratios]}


def _values(flights: Path) -> list[bytes]:
    """Return each flight of a month as the JSON that it is as a message."""
    table = pq.read_table(flights, columns=list(COLUMNS))
    moments = pc.strftime(table["time_hour"].cast(pa.timestamp("s", "UTC")), "%Y-%m-%dT%H:%M:%SZ")
    table = table.set_column(table.column_names.index("time_hour"), "time_hour", moments)
    return [json.dumps(row).encode() for row in table.to_pylist()]


def _produce(broker: KafkaBroker, values: Iterator[bytes]) -> None:
    """Send ``values`` to the partitions of SOURCE by turns; end with an error if one is refused."""
    refused: list[KafkaError] = []

    def acknowledged(error: KafkaError | None, _: object) -> None:
        if error is not None:
            refused.append(error)

    broker.create({SOURCE: PARTITIONS})
    producer = Producer({**broker.settings, "linger.ms": 20})
    for number, value in enumerate(values):
        if number % 50_000 == 0:  # its queue takes 100,000
            producer.flush()
        producer.produce(SOURCE, value, partition=number % PARTITIONS, on_delivery=acknowledged)
    producer.flush()
    if refused:
        raise SystemExit(f"error: the broker refuses messages: {refused[0]}")


def _samples(process: subprocess.Popen[bytes]) -> Iterator[tuple[float, float, int]]:
    """Yield samples until ``process`` ends."""
    watched, until = psutil.Process(process.pid), time.monotonic() + RUN_SECONDS
    while process.poll() is None:
        if time.monotonic() > until:
            raise SystemExit(f"error: {process.args!r} goes on after {RUN_SECONDS} s")
        with contextlib.suppress(psutil.NoSuchProcess):
            used = watched.cpu_times()
            yield time.time(), used.user + used.system, watched.memory_info().rss
        time.sleep(SAMPLE_SECONDS)


def _read(broker: KafkaBroker, topic: str) -> Iterator[Any]:
    """Yield all messages of a topic that are there."""
    consumer = Consumer(
        {
            **broker.settings,
            "group.id": "bench",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    unread = set(range(PARTITIONS))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in unread])
    while unread:
        for message in consumer.consume(10_000, 1.0):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise KafkaException(error)
    consumer.close()


def _predictions(
    broker: KafkaBroker, target: str
) -> tuple[list[int], dict[tuple[int, int], float]]:
    """Return when each result was sent, and the prediction for the message at each place."""
    stamps, found = [], {}
    for message in _read(broker, target):
        result = json.loads(message.value())
        stamps.append(message.timestamp()[1])
        place = result["source_partition"], result["source_offset"]
        found[place] = result["predicted_arr_delay"]
    if len(found) != len(stamps):
        raise SystemExit(f"error: {len(stamps)} results of {target} are of {len(found)} messages")
    return stamps, found


def _same(
    predictions: Mapping[tuple[int, int], float],
    expected: Mapping[tuple[int, int], float],
    whole: bool,
) -> bool:
    """Return whether equal messages have equal predictions; ``whole``: all of them have one."""
    if whole and len(predictions) != len(expected):
        return False
    return all(expected.get(place) == found for place, found in predictions.items())


def _check_all(broker: KafkaBroker, target: str, results: int, messages: int) -> None:
    """End with an error unless each message has become a result or a dead letter."""
    # Counted, as this broker's answer which offset is the next one lacks its last batch.
    dead = sum(1 for _ in _read(broker, _dead_letters(target)))
    if results + dead != messages:
        raise SystemExit(f"error: {messages} messages: {results} results, {dead} dead letters")


def _dead_letters(target: str) -> str:
    return f"{target}.dead-letters"
