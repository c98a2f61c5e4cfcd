"""Consumers that are killed and brokers that are restarted while messages come: all are counted.

``make soak-streams`` writes what it has counted into docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Producer

from devstack.services import kafka
from devstack.services.object_store import ObjectStore
from tests import kafka_broker
from tests.kafka_broker import Broker, Got, drained, wait_until
from tests.scoring.factories import JOB, Place, linear
from tests.scoring.serving.stream.conftest import ROOT, Start, Stream
from tests.small_job import merged

MESSAGES, PARTITIONS = 15_000, 3
JOINS, LEAVES = 5_000, 10_000
KILLS, RESTARTS = 10, 2
SEED = int(os.environ.get("SOAK_SEED") or 2013)
OUT = "out.{job}"

TWO_VERSIONS = {
    "versions": [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
        {"version": "v2", "uri": "{models}/v2.skops", "candidate": True},
    ]
}


class Messages(threading.Thread):
    """Sends messages all the time, whatever the brokers do; ``acknowledged`` are the ids of those that
    they have taken.

    Not their places: a batch that is sent again after a restart has two.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(daemon=True)
        self._producer = Producer(
            {"bootstrap.servers": broker.server, "log_level": 2, **kafka.LOST_OTHERWISE}
        )
        self.acknowledged: set[int] = set()
        self.sent = 0

    def run(self) -> None:
        for number in range(MESSAGES):

            def delivered(error: object, message: object, number: int = number) -> None:
                assert error is None, error
                self.acknowledged.add(number)

            value = json.dumps({"id": number, "x": number / 7})
            self._producer.produce("in", value, on_delivery=delivered)
            self.sent += 1
            if number % 50 == 49:
                self._producer.poll(0)
                time.sleep(0.15)  # so that they come all the while
        assert self._producer.flush(kafka_broker.SECONDS) == 0


@dataclass
class Member:
    """A process that is started again whenever it was killed."""

    name: str
    options: tuple[str, ...]
    kills: int = 0
    stream: Stream | None = None
    logs: list[Path] = field(default_factory=list)


@pytest.fixture
def s3_broker(tmp_path: Path, s3_server: ObjectStore) -> Iterator[Broker]:
    """A broker that keeps its messages in S3, so that it has them after a restart."""
    kafka.make_bucket(s3_server)
    with kafka_broker.running(tmp_path, s3_server) as found:
        yield found


def results(broker: Broker, name: str, ids: set[int], members: list[Member]) -> list[Got]:
    """All results of a job, when each of ``ids`` has one."""
    topic = OUT.replace("{job}", name)
    got: list[Got] = []

    def complete(found: list[Got]) -> bool:
        got[:] = found
        return ids <= {of(one)["id"] for one in found}

    try:
        return broker.read(topic, complete)
    except AssertionError:
        pytest.fail(what_is_missing(broker, name, ids - {of(one)["id"] for one in got}, members))


def what_is_missing(broker: Broker, name: str, ids: set[int], members: list[Member]) -> str:
    """Where the messages without a result lie, and what the processes said last."""
    stored = {of(one)["id"]: one for one in broker.read("in", drained())}
    places = [f"{stored[i].partition}/{stored[i].offset}" for i in sorted(ids & set(stored))]
    logs = "\n".join(
        f"{member.options[0]}, ended with {member.stream.process.poll()}: "
        + member.stream.log.read_text()[-2_000:]
        for member in members
        if member.stream is not None and member.name == name
    )
    return (
        f"{len(ids)} messages have no result in {OUT.replace('{job}', name)}: {sorted(ids)[:20]} …; "
        f"the broker has {len(places)} of them, in (partition/offset) {places[:20]}. "
        f"Committed: {broker.committed(f'scoring.{name}', 'in', PARTITIONS)}\n{logs}"
    )


def repeated(got: list[Got]) -> int:
    """How many results are there again; the test fails if one differs from the first."""
    values: dict[str, bytes] = {}
    for one in got:
        assert values.setdefault(one.key, one.value) == one.value
    return len(got) - len(values)


def test_no_message_is_lost_and_results_that_come_again_are_equal(
    place: Place, s3_broker: Broker, s3_server: ObjectStore, start: Start, tmp_path: Path
):
    draw = random.Random(SEED)
    broker = s3_broker
    place.model(linear(3.0), "v2.skops")
    place.job(model=TWO_VERSIONS)
    second = merged(JOB, {"name": "second", "destination": {"uri": "{data}/second"}})
    (place.folder / "second.yaml").write_text(yaml.safe_dump(second))
    topics = {"in": PARTITIONS, "out.sample": 3, "out.second": 3, "out.challenger": 3}
    dead = {f"{name}.dead-letters": 1 for name in topics if name != "in"}
    broker.create(topics | dead)

    to = ("--to", f"kafka:///{OUT}", "--max-batch", "200")
    members = [
        Member("sample", ("sample", *to)),
        Member("sample", ("sample", *to)),  # two share the partitions of this job
        Member("second", ("second", *to)),
    ]
    challenger = Member(
        "challenger",
        ("sample", "--version", "v2", "--start", "latest", "--to", "kafka:///out.challenger"),
    )

    def run(member: Member) -> None:
        member.stream = start(place, "in", *member.options, server=broker.server)

    messages = Messages(broker)
    for member in members:
        run(member)
    for member in members:
        assert member.stream is not None
        member.stream.wait(lambda s=member.stream: "reads partition" in s.log.read_text())  # type: ignore[misc]
    messages.start()
    kills = sorted(draw.randrange(500, MESSAGES - 500) for _ in range(KILLS))
    restarts = [draw.randrange(2_000, 6_000), draw.randrange(9_000, 13_000)]
    assert len(restarts) == RESTARTS
    events = [(at, "kill") for at in kills] + [(at, "restart") for at in restarts]
    events += [(JOINS, "join"), (LEAVES, "leave")]
    for at, event in sorted(events):
        wait_until(lambda at=at: messages.sent >= at, lambda: f"{messages.sent} sent")  # type: ignore[misc]
        if event == "kill":
            running = [m for m in (*members, challenger) if m.stream is not None]
            member = draw.choice(running)
            assert member.stream is not None
            member.stream.kill()
            member.kills += 1
            run(member)
        elif event == "restart":
            broker.kill()
            time.sleep(draw.random() * 3)  # as long as an outage lasts
            broker.start(tmp_path / "broker.log", s3_server).wait()
        elif event == "join":
            run(challenger)
        else:
            assert challenger.stream is not None
            challenger.stream.wait(
                lambda s=challenger.stream: s.total("scoring.sample.version.v2") > 0  # type: ignore[misc]
            )
            assert challenger.stream.stop() == 0
            challenger.stream = None
    messages.join()
    assert messages.acknowledged == set(range(MESSAGES))
    found = {
        name: results(broker, name, messages.acknowledged, members) for name in ("sample", "second")
    }
    for member in members:
        assert member.stream is not None
        with suppress(ProcessLookupError):
            assert member.stream.stop() == 0

    committed = broker.committed("scoring.sample.version.v2", "in", PARTITIONS)
    # All from where it joined to where it left.
    found["challenger"] = broker.read("out.challenger", lambda got: not gaps(got, committed))
    again = {name: repeated(got) for name, got in found.items()}
    letters = broker.read("out.sample.dead-letters", lambda got: True)
    assert letters == []
    killed = Counter({m.name: 0 for m in members})
    for member in (*members, challenger):
        killed[member.name] += member.kills
    assert sum(killed.values()) == KILLS
    rows = [
        f"| {'`second`' if name == 'second' else '`sample`, two processes' if name == 'sample' else 'its challenger'} "
        f"| {killed[name]} | {len({of(g)['id'] for g in got}):,} | 0 | {again[name]:,} |"
        for name, got in found.items()
    ]
    table = "\n".join(rows)
    print(f"\n{table}")
    if "SOAK_STREAMS" in os.environ:
        _write(table)


def gaps(got: list[Got], committed: dict[int, int]) -> int:
    """How many messages have no result between the first that has one and what is committed."""
    offsets: dict[int, set[int]] = defaultdict(set)
    for one in map(of, got):
        offsets[one["source_partition"]].add(one["source_offset"])
    if set(offsets) != set(committed):
        return 1
    return sum(
        len(set(range(min(there), committed[partition])) - there)
        for partition, there in offsets.items()
    )


def of(got: Got) -> dict[str, int]:
    found: dict[str, int] = json.loads(got.value)
    return found


def _write(rows: str) -> None:
    """Put the figures into docs/reliability.md."""
    page = ROOT / "docs" / "reliability.md"
    text = page.read_text()
    head = (
        f"{MESSAGES:,} messages, {KILLS} consumers killed, {RESTARTS} restarts of the broker, by "
        f"`make soak-streams SEED={SEED}`, {date.today():%Y-%m-%d}:\n\n"  # noqa: DTZ011
        "| group | killed | messages with a result | lost | results that came again, all equal |\n"
        "|---|---|---|---|---|\n"
    )
    between = f"<!-- streams: begin -->\n{head}{rows}\n<!-- streams: end -->"
    pattern = r"<!-- streams: begin -->.*<!-- streams: end -->"
    page.write_text(re.sub(pattern, lambda _: between, text, flags=re.DOTALL))
