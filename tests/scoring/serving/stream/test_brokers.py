"""Brokers that are away, slow, closed or forgetful; transactions; what a connection says."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from devstack.services import kafka
from devstack.services.object_store import ObjectStore
from devstack.services.ports import free_port
from scoring.serving.jobs import Jobs
from scoring.serving.settings import Settings
from scoring.serving.stream import topic_reader
from scoring.serving.stream.address import parse_address
from scoring.serving.stream.consumer_group import ConsumerGroup
from scoring.serving.stream.messages import Outgoing, Topics
from scoring.serving.stream.received import Received
from scoring.serving.stream.result_writer import Delivery, ResultWriter, UndeliveredError
from scoring.serving.stream.settings import StreamSettings
from scoring.serving.stream.status import StreamStatus
from scoring.serving.stream.topic_reader import TopicReader
from tests import kafka_broker
from tests.https_server import certify
from tests.kafka_broker import QUIET, Broker, at_least, wait_until
from tests.scoring.factories import Place
from tests.scoring.serving.stream.conftest import Start


def row(number: int) -> str:
    return json.dumps({"id": number, "x": float(number)})


def ids(broker: Broker, topic: str, count: int) -> list[int]:
    return [json.loads(got.value)["id"] for got in broker.read(topic, at_least(count))]


@pytest.fixture(scope="module")
def store(s3_server: ObjectStore) -> ObjectStore:
    kafka.make_bucket(s3_server)
    return s3_server


@pytest.fixture
def sink(tmp_path: Path, store: ObjectStore) -> Iterator[Broker]:
    """Another broker, for results alone, which keeps them in S3."""
    with kafka_broker.running(tmp_path, store) as found:
        yield found


def to_sink(sink: Broker, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    connection = {"conn_type": "kafka", "extra": {"bootstrap.servers": sink.server}}
    monkeypatch.setenv("AIRFLOW_CONN_SINK", json.dumps(connection))
    return ("--to-connection-id", "sink")


@pytest.mark.parametrize("how", ["refuses for a minute", "does not answer"])
def test_results_wait_for_brokers_that_are_away_and_nothing_is_committed_meanwhile(
    how: str,
    place: Place,
    broker: Broker,
    topic: str,
    sink: Broker,
    tmp_path: Path,
    store: ObjectStore,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
):
    place.job()
    sink.create({f"{topic}-out": 1, f"{topic}-out.dead-letters": 1})
    options = ("--metrics-port", "0", "--max-batch", "50", *to_sink(sink, monkeypatch))
    broker.produce(topic, [row(n) for n in range(100)])
    stream = start(place, topic, *options)
    stream.wait(lambda: stream.total() == 100)
    if how == "does not answer":
        sink.process.send_signal(signal.SIGSTOP)
    else:
        sink.kill()
    broker.produce(topic, [row(n) for n in range(100, 400)])
    before = broker.committed("scoring.sample", topic, 2)
    stream.wait(lambda: "results wait for" in (stream.group()["problem"] or ""))
    if how == "refuses for a minute":
        threading.Event().wait(60)
    group = 'group="scoring.sample",job="sample"'
    assert f"scoring_stream_problem{{{group}}} 1.0" in stream.metrics()
    assert broker.committed("scoring.sample", topic, 2) == before
    assert stream.total() == 100
    if how == "does not answer":
        sink.process.send_signal(signal.SIGCONT)
    else:
        sink.start(tmp_path / "broker.log", store).wait()
    stream.wait(lambda: stream.total() == 400)
    stream.wait(lambda: stream.group()["problem"] is None)
    assert set(ids(sink, f"{topic}-out", 400)) == set(range(400))
    assert stream.log.read_text().count("gives back") == 0  # it stayed a member all the time
    assert stream.stop() == 0


def test_it_ends_although_results_are_not_acknowledged_and_scores_them_again(
    place: Place,
    broker: Broker,
    topic: str,
    sink: Broker,
    tmp_path: Path,
    store: ObjectStore,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
):
    place.job()
    sink.create({f"{topic}-out": 1, f"{topic}-out.dead-letters": 1})
    options = to_sink(sink, monkeypatch)
    stream = start(place, topic, *options)
    stream.wait(lambda: "reads partitions" in stream.log.read_text())
    sink.process.send_signal(signal.SIGSTOP)
    broker.produce(topic, [row(n) for n in range(10)])
    stream.wait(lambda: "results wait for" in (stream.group()["problem"] or ""))
    assert stream.stop() == 0
    assert "their messages are not committed, and will be scored again" in stream.log.read_text()
    sink.process.send_signal(signal.SIGCONT)
    assert start(place, topic, *options, "--until-end").end() == 0
    assert set(ids(sink, f"{topic}-out", 10)) == set(range(10))


def test_brokers_that_come_back_are_read_on(
    place: Place, tmp_path: Path, store: ObjectStore, start: Start, sink: Broker
):
    place.job()
    topics = {"back": 2, "back-out": 1, "back-out.dead-letters": 1}
    sink.create(topics)
    sink.produce("back", [row(n) for n in range(50)])
    stream = start(place, "back", server=sink.server)
    stream.wait(lambda: stream.total() == 50)
    for round_ in range(2):
        sink.kill()
        stream.wait(lambda: "do not answer" in (stream.group()["problem"] or ""))
        sink.start(tmp_path / "broker.log", store).wait()
        first = 50 + 50 * round_
        sink.produce("back", [row(n) for n in range(first, first + 50)])
        stream.wait(lambda: stream.total() == first + 50)  # noqa: B023
        stream.wait(lambda: stream.group()["problem"] is None)
    found = ids(sink, "back-out", 150)
    assert sorted(set(found)) == list(range(150))


def test_messages_from_before_a_failure_do_not_hide_it(
    tmp_path: Path, store: ObjectStore, sink: Broker
):
    sink.create({"hidden": 1})
    status = StreamStatus("sample", "hidden")
    settings = {"bootstrap.servers": sink.server, "session.timeout.ms": 6000}
    reader = TopicReader(settings, "hidden", "hidden", "earliest", status, lambda partitions: None)
    wait_until(lambda: not reader.read(100, 0.2) and reader.at_end, str)
    sink.produce("hidden", [row(n) for n in range(50)])
    partition = TopicPartition("hidden", 0)
    wait_until(lambda: reader._consumer.get_watermark_offsets(partition, cached=True)[1] == 50, str)
    sink.kill()
    # One call takes both the messages and the error that follows them, and handles the error first.
    assert len(reader.read(100, 2.0)) == 50
    wait_until(lambda: not reader.read(100, 0.2) and bool(status.waiting), str)
    assert "the brokers of hidden do not answer" in (status.waiting or "")
    sink.start(tmp_path / "broker.log", store).wait()
    wait_until(lambda: not reader.read(100, 0.2) and status.waiting is None, str)
    reader.close()


def test_messages_that_were_deleted_before_they_were_scored_are_said_to_be_lost(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    class Forgetful(Consumer):
        """Of the brokers that can be had here, none deletes messages: this one says so."""

        def get_watermark_offsets(self, *arguments: Any, **more: Any) -> tuple[int, int]:
            return 30, 40

    monkeypatch.setattr(topic_reader, "Consumer", Forgetful)
    broker.produce(topic, [row(n) for n in range(40)], partition=0)
    before = Consuming(broker, topic, group="forgetful")
    before.consumer.commit(offsets=[TopicPartition(topic, 0, 20)], asynchronous=False)
    before.consumer.close()
    status = StreamStatus("sample", "forgetful")
    settings = {"bootstrap.servers": broker.server, "session.timeout.ms": 6000}
    reader = TopicReader(settings, topic, "forgetful", "earliest", status, lambda partitions: None)
    found: list[Received] = []
    with caplog.at_level("ERROR"):
        wait_until(lambda: bool(found.extend(reader.read(100, 0.2)) or found), str)
    assert [message.offset for message in found if message.partition == 0] == list(range(30, 40))
    assert status.lost == 10
    assert "10 messages of partition 0" in caplog.text
    assert "offsets 20 to 29" in caplog.text
    reader.close()


def test_results_and_offsets_are_committed_in_one_transaction(
    place: Place, broker: Broker, topic: str, start: Start
):
    place.job()
    broker.produce(topic, [row(n) for n in range(500)])
    stream = start(place, topic, "--transactional", "--until-end", "--max-batch", "100")
    assert stream.end() == 0
    found = ids(broker, f"{topic}-out", 500)
    assert sorted(found) == list(range(500))
    assert sum(broker.committed("scoring.sample", topic, 2).values()) == 500


def outgoing(topic: str, count: int) -> list[Outgoing]:
    source = Received("in", 0, 0, None, b"", 0)
    return [Outgoing(topic, f"k{n}".encode(), b"v", None, "scored", source) for n in range(count)]


def same(message: Outgoing) -> Outgoing | None:
    return None


class Consuming:
    """A member of a group, which a transaction is made for."""

    def __init__(self, broker: Broker, topic: str, group: str | None = None) -> None:
        settings = {**QUIET, "bootstrap.servers": broker.server, "group.id": group or f"g-{topic}"}
        strategy = {"partition.assignment.strategy": "cooperative-sticky"}  # as the stream's own
        self.consumer = Consumer({**settings, **strategy, "session.timeout.ms": 6000})
        self.consumer.subscribe([topic])

        def assigned() -> bool:
            self.consumer.poll(0.1)
            return bool(self.consumer.assignment())

        wait_until(assigned, str)

    @property
    def metadata(self) -> Any:
        return self.consumer.consumer_group_metadata()


def fail(writer: ResultWriter, topic: str, member: Consuming) -> None:
    """Try a transaction of five results and one that no broker takes."""
    large = [m._replace(value=b"x" * 2_000_000) for m in outgoing(topic, 6)[5:]]
    places = [TopicPartition("in", 0, 7)]
    with pytest.raises(UndeliveredError, match="too large"):
        writer.deliver([*outgoing(topic, 5), *large], same, places, member.metadata)


@pytest.fixture
def member(broker: Broker, topic: str) -> Iterator[Consuming]:
    found = Consuming(broker, topic)
    yield found
    found.consumer.close()


def test_an_aborted_transaction_commits_no_offsets(broker: Broker, topic: str, member: Consuming):
    writer = ResultWriter({"bootstrap.servers": broker.server}, "one")
    out, places = f"{topic}-out", [TopicPartition(topic, 0, 7)]
    fail(writer, out, member)
    assert broker.committed(f"g-{topic}", topic, 1) == {}
    assert len(writer.deliver(outgoing(out, 3), same, places, member.metadata)) == 3
    assert broker.committed(f"g-{topic}", topic, 1) == {0: 7}
    writer.close()


def test_a_process_that_was_replaced_commits_nothing(broker: Broker, topic: str, member: Consuming):
    settings = {"bootstrap.servers": broker.server}
    old, new = ResultWriter(settings, "same"), ResultWriter(settings, "same")
    out = f"{topic}-out"
    places = [TopicPartition(topic, 0, 1)]
    old.deliver(outgoing(out, 1), same, places, member.metadata)
    new.deliver(outgoing(out, 1), same, [TopicPartition(topic, 0, 2)], member.metadata)
    with pytest.raises(UndeliveredError, match="fenced"):
        old.deliver(outgoing(out, 1), same, places, member.metadata)
    assert broker.committed(f"g-{topic}", topic, 1) == {0: 2}
    old.close()
    new.close()


@contextmanager
def tls_in_front_of(broker: Broker, port: int, certificate: Path) -> Iterator[None]:
    """What takes TLS off, which the broker of the tests cannot do itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, out = await asyncio.open_connection("127.0.0.1", broker.port)
        await asyncio.gather(pump(reader, out), pump(inner, writer))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", port, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_connection_with_tls_is_used(place: Place, tmp_path: Path, start: Start):
    place.job()
    authority, served = certify(tmp_path)
    port = free_port()
    secure = f"127.0.0.1:{port}"
    broker = Broker(free_port()).start(tmp_path / "tls.log", None, secure)
    tls = {"security.protocol": "ssl", "ssl.ca.location": str(authority)}
    try:
        with tls_in_front_of(broker, port, served):
            admin = AdminClient({"bootstrap.servers": secure, **tls})
            wait_until(lambda: answers(admin), lambda: (tmp_path / "tls.log").read_text())
            names = ("tls", "tls-out", "tls-out.dead-letters")
            for made in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
                made.result(10)
            producer = Producer({"bootstrap.servers": secure, **tls})
            producer.produce("tls", row(1))
            assert producer.flush(10) == 0
            stream = start(place, "tls", "--until-end", server=secure, extra=tls)
            assert stream.end() == 0
            assert stream.total() == 1
            unknown = {"security.protocol": "ssl"}
            refused = start(place, "tls", "--until-end", server=secure, extra=unknown)
            assert refused.end() == 1
            assert "Check the address, and the connection" in refused.log.read_text()
    finally:
        broker.kill()


def answers(admin: AdminClient) -> bool:
    try:
        admin.list_topics(timeout=2)
    except KafkaException:
        return False
    return True


class FirstIsLost(ResultWriter):
    """Acknowledges all but what it is given first."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__({})
        self.batches: list[list[Outgoing]] = []
        self._stop = stop

    def send(self, messages: list[Outgoing]) -> Delivery:
        self.batches.append(messages)
        delivery = Delivery(messages)
        if len(self.batches) > 1:
            delivery.open = 0
        return delivery

    def poll(self, seconds: float) -> None:
        self._stop.set()  # while the next batch waits for the answer to this one


def test_nothing_is_committed_that_follows_results_without_an_answer(
    place: Place, broker: Broker, topic: str
):
    broker.produce(topic, [row(n) for n in range(9)], partition=0)
    file = place.job().path
    address = parse_address(f"kafka://{broker.server}/{topic}")
    jobs = Settings((file,), file.parent, lambda: datetime(2013, 3, 1, tzinfo=UTC), str(place.data))
    settings = StreamSettings(jobs, address, address, None, max_batch=3, stop_seconds=0.2)
    loaded = Jobs(jobs)
    loaded.load()
    stop, status = threading.Event(), StreamStatus("sample", "once")
    group = ConsumerGroup(
        settings, status, Topics("out", "dead"), lambda: loaded["sample"].in_force, stop
    )
    group._writer = writer = FirstIsLost(stop)
    group.run()
    assert len(writer.batches) == 1
    assert status.total == 0
    assert broker.committed("once", topic, 1) == {}


def test_a_topic_that_was_made_again_is_read_from_its_beginning(caplog: pytest.LogCaptureFixture):
    """By librdkafka's own cluster for tests, which knows offsets that are out of range."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 2})
    (found,) = cluster.list_topics(timeout=10).brokers.values()
    mock = Broker(found.port)
    places = mock.produce("again", [row(n) for n in range(10)], partition=0)
    assert places[-1] == (0, 9)
    before = Consumer({**QUIET, "bootstrap.servers": mock.server, "group.id": "g"})
    before.commit(offsets=[TopicPartition("again", 0, 1000)], asynchronous=False)
    before.close()
    status = StreamStatus("sample", "g")
    settings = {"bootstrap.servers": mock.server, "session.timeout.ms": 6000}
    reader = TopicReader(settings, "again", "g", "earliest", status, lambda partitions: None)
    read: list[int] = []

    def all_read() -> bool:
        read.extend(message.offset for message in reader.read(100, 0.2))
        return len(read) >= 10

    with caplog.at_level("ERROR"):
        wait_until(all_read, lambda: str(read))
    assert read == list(range(10))
    assert "the topic was made again, or cut. It is read from its beginning" in caplog.text
    reader.close()
