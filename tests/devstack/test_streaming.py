"""`scoring stream` and its broker as `make stack STREAM=1` starts them: what is killed, what is known,
how they end.
"""

from __future__ import annotations

import io
import json
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
from confluent_kafka.admin import AdminClient

from deploy import healthcheck
from devstack import __main__ as devstack
from devstack.airflow import components
from devstack.commands import messages, session
from devstack.errors import DevstackError
from devstack.home import Home
from devstack.services import object_store, streaming
from devstack.services.object_store import ObjectStore
from devstack.services.streaming import Stream
from devstack.supervise.processes import Service
from devstack.supervise.supervisor import Supervisor
from tests.kafka_broker import Broker, Got, at_least
from tests.s3_server import BUCKET
from tests.scoring.factories import Place

SECONDS = 120
GROUP = "scoring.sample"
DEAD = "predictions.dead-letters"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("stream") / "run")


@pytest.fixture(scope="module")
def supervisor(home: Home) -> Iterator[Supervisor]:
    with session.supervised(home, "the tests", print) as running:
        yield running


@pytest.fixture(scope="module")
def stream(home: Home, s3_server: ObjectStore, supervisor: Supervisor) -> Stream:
    """The stream of one job, whose model is in the bucket; the last test ends it."""
    place = Place(home.root)
    place.model()
    place.job()
    model = place.data / "models" / "v1.skops"
    object_store.client(s3_server).upload_file(str(model), BUCKET, "models/v1.skops")
    found = streaming.start(place.folder, home, s3_server, supervisor, job="sample")
    log = home.logs / "stream.log"
    supervisor.wait_until(lambda: problem(found) is None, "stream", log)
    return found


@pytest.fixture(scope="module")
def broker(stream: Stream) -> Broker:
    """The same broker, with what tests ask of one."""
    return Broker(stream.broker.port)


def problem(stream: Stream) -> str | None:
    return healthcheck.problem("stream", {}, str(stream.port))


def service(supervisor: Supervisor, name: str) -> Service:
    (found,) = [each for each in supervisor.services if each.name == name]
    return found


def wait_for(supervisor: Supervisor, condition: Callable[[], bool], what: str) -> None:
    """Await a condition while what is dead is restarted."""
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, what
        supervisor.watch(0.1)


def rows(first: int, last: int) -> list[str]:
    return [json.dumps({"id": number, "x": float(number)}) for number in range(first, last + 1)]


def predictions(got: list[Got]) -> dict[int, float]:
    found: list[dict[str, Any]] = [json.loads(each.value) for each in got]
    return {row["id"]: row["y"] for row in found}


def committed(broker: Broker) -> int:
    places = broker.committed(GROUP, streaming.SOURCE, streaming.TOPICS[streaming.SOURCE])
    return sum(places.values())


def test_its_topics_are_there(broker: Broker) -> None:
    topics = AdminClient(broker.settings).list_topics(timeout=10).topics
    found = {name: len(topics[name].partitions) for name in streaming.TOPICS}
    assert found == streaming.TOPICS == {"flights": 4, "predictions": 4, DEAD: 1}


def test_each_message_gets_the_prediction_of_the_model(broker: Broker) -> None:
    broker.produce(streaming.SOURCE, rows(1, 20))
    got = broker.read(streaming.RESULTS, at_least(20))
    assert predictions(got) == {number: pytest.approx(2.0 * number) for number in range(1, 21)}
    assert len(got) == 20


def test_a_killed_broker_is_restarted_and_loses_nothing(
    broker: Broker, supervisor: Supervisor
) -> None:
    before, scores = service(supervisor, "kafka").process, service(supervisor, "stream").process
    broker.produce(streaming.SOURCE, rows(21, 30))  # acknowledged, and not yet scored
    before.kill()
    before.wait()
    assert not broker.answers()
    wait_for(supervisor, broker.answers, "a new broker answers")
    assert service(supervisor, "kafka").process.pid != before.pid
    broker.produce(streaming.SOURCE, rows(31, 40))
    got = broker.read(streaming.RESULTS, lambda got: len(predictions(got)) >= 40)
    assert predictions(got) == {number: pytest.approx(2.0 * number) for number in range(1, 41)}
    assert service(supervisor, "stream").process is scores, "the stream has waited for it"


def test_it_is_asked_how_far_it_is(stream: Stream, broker: Broker, supervisor: Supervisor) -> None:
    wait_for(supervisor, lambda: committed(broker) == 40, "all messages are committed")

    def scored() -> bool:
        text = httpx.get(stream.metrics).raise_for_status().text
        (line,) = [
            line
            for line in text.splitlines()
            if line.startswith("scoring_stream_messages_total{") and 'outcome="scored"' in line
        ]
        return float(line.rpartition(" ")[2]) >= 40

    wait_for(supervisor, scored, "the metrics count them")


def test_a_user_sends_and_reads_by_the_printed_commands(
    stream: Stream, broker: Broker, supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(command: str, *options: str) -> str:
        program, *arguments = shlex.split(command.removeprefix(f"{streaming.DEVSTACK} "))
        assert devstack.main([program, *arguments, *options]) == 0
        return capsys.readouterr().out

    # A flight has no column of the job of this test, so it is a dead letter.
    assert call(stream.example) == "1 message sent\n"
    assert len(broker.read(DEAD, at_least(1))) == 1
    lines = call(stream.results.replace(streaming.RESULTS, DEAD), "--exit").splitlines()
    value, _, headers = lines[0].partition("\t")
    assert json.loads(value)["carrier"] == "UA"
    assert json.loads(headers)["job"] == "sample"
    results = call(stream.results, "--exit").splitlines()
    assert {json.loads(line)["id"] for line in results} == set(range(1, 41))


def test_lines_of_standard_input_are_sent(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*rows(41, 42), "", *rows(43, 43)])))
    assert devstack.main(["send", broker.address(streaming.SOURCE)]) == 0
    assert capsys.readouterr().out == "3 messages sent\n"
    got = broker.read(streaming.RESULTS, lambda got: len(predictions(got)) >= 43)
    assert set(predictions(got)) == set(range(1, 44))


@pytest.mark.parametrize("program", ["send", "read"])
def test_an_address_without_brokers_is_refused(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert devstack.main([program, "kafka:///flights"]) == 1
    assert "kafka:///flights names no broker" in capsys.readouterr().out


def test_a_misspelt_topic_is_named_and_not_made(broker: Broker) -> None:
    for _ in range(2):
        with pytest.raises(DevstackError, match="there is no topic misspelt at"):
            messages.send(broker.address("misspelt"), ["{}"])
    with pytest.raises(DevstackError, match="there is no topic misspelt at"):
        messages.read(broker.address("misspelt"), to_end=True)


def test_its_keys_are_the_readers_and_stand_on_no_command_line(
    stream: Stream, s3_server: ObjectStore, supervisor: Supervisor
) -> None:
    process = psutil.Process(service(supervisor, "stream").process.pid)
    environment = process.environ()
    assert not [name for name in environment if name.startswith(("AIRFLOW__", "AWS_"))]
    connections = {n: v for n, v in environment.items() if n.startswith("AIRFLOW_CONN_")}
    assert connections == {
        "AIRFLOW_CONN_SCORING_S3": s3_server.for_readers.connection,
        "AIRFLOW_CONN_STREAM": streaming.connection_to(stream.broker),
    }
    assert s3_server.secret_key not in "".join(environment.values())
    secrets = [s3_server.secret_key, *s3_server.reader]
    for each in supervisor.services:
        line = " ".join(psutil.Process(each.process.pid).cmdline())
        assert not [secret for secret in secrets if secret in line], each.name


def test_it_listens_on_this_machine_only(supervisor: Supervisor) -> None:
    for name in ("kafka", "stream"):
        process = psutil.Process(service(supervisor, name).process.pid)
        listening = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip for c in listening} == {"127.0.0.1"}, name


def test_it_ends_in_time_with_the_rest(
    stream: Stream, broker: Broker, supervisor: Supervisor
) -> None:
    assert problem(stream) is None
    ending = service(supervisor, "stream").process
    begun = time.monotonic()
    components.end(supervisor)
    assert time.monotonic() - begun < streaming.GRACE_SECONDS
    assert ending.returncode == 0, "it was asked to end, and not killed"
    assert supervisor.services == []
    assert not broker.answers()
    says = problem(stream)
    assert says is not None
    assert says.startswith("the stream does not answer: ")
