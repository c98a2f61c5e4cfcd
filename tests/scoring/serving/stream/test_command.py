"""``scoring stream`` as a command: what is wrong at the start, metrics, its end, what it shows."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.kafka_broker import Broker, at_least
from tests.measured import module
from tests.scoring.factories import Place
from tests.scoring.serving.stream.conftest import ROOT, Start

SECRET = "a-word-that-nobody-reads"


def row(number: int) -> str:
    return json.dumps({"id": number, "x": float(number)})


def command(place: Place, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command where it should end at once."""
    folders = ("--jobs", str(place.folder), "--data", str(place.data), "--now", "2013-03-01")
    return subprocess.run(
        [*module("scoring", "stream", *folders), *options],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ | env,
    )  # fmt: skip


@pytest.fixture
def place(place: Place) -> Place:
    place.job()
    return place


def test_what_is_wrong_at_the_start_is_one_error(place: Place, broker: Broker, topic: str):
    source, out = broker.address(topic), broker.address(f"{topic}-out")
    both = ("--from", source, "--to", out)
    other = ("--from", source, "--to", broker.address("nowhere"))
    for options, status, error in (
        ((*both, "nothing"), 2, "nothing"),
        (("--from", source), 1, "nothing is to be done: give --to for results, or --archive"),
        (("--from", "flights", "--to", out), 1, "'flights' is not an address"),
        (other, 1, f"there is no topic nowhere at {broker.server}"),
        (("--from", broker.address("gone"), "--to", out), 1, "there is no topic gone"),
        (("--from", source, "--to", source), 1, "there is no topic"),
        (("--from", source, "--to", out, "--dead-letters", source), 1, "would read what it writes"),
        ((*both, "--dead-letters", "kafka://b:1/x"), 1, "has other brokers than --to"),
        ((*both, "--version", "v9"), 5, "v9"),
        ((*both, "--metrics-port", "0", "--metrics-host", "0.0.0.0"), 1, "--metrics-tokens FILE"),
        ((*both, "--connection-id", "unset"), 1, "AIRFLOW_CONN_UNSET"),
        (("--from", "kafka://127.0.0.1:1/x", "--to", out), 1, "cannot be asked for its topics"),
    ):
        done = command(place, *options)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == status, (options, done.stderr)
        assert len(errors) == 1, done.stderr
        assert error in errors[0]
        assert "Traceback" not in done.stderr


def test_a_setting_that_librdkafka_refuses_is_one_error(place: Place, broker: Broker, topic: str):
    extra = {"bootstrap.servers": broker.server, "no.such.setting": 1}
    connection = json.dumps({"conn_type": "kafka", "extra": extra})
    options = ("--from", f"kafka:///{topic}", "--to", f"kafka:///{topic}-out")
    done = command(place, *options, "--connection-id", "k", AIRFLOW_CONN_K=connection)
    assert done.returncode == 1
    assert 'No such configuration property: "no.such.setting"' in done.stderr


def test_no_secret_is_printed(place: Place, broker: Broker, topic: str):
    extra = {"bootstrap.servers": broker.server, "security.protocol": "sasl_plaintext"}
    extra |= {"sasl.mechanism": "PLAIN"}
    values = {"conn_type": "kafka", "login": "me", "password": SECRET, "extra": extra}
    options = ("--from", f"kafka:///{topic}", "--to", f"kafka:///{topic}-out", "--verbose")
    done = command(place, *options, "--connection-id", "k", AIRFLOW_CONN_K=json.dumps(values))
    assert done.returncode == 1
    assert "cannot be asked for its topics" in done.stderr
    assert SECRET not in done.stderr + done.stdout
    done = command(place, "--from", f"kafka://me:{SECRET}@a:1/t", "--to", "kafka://a:1/o")
    assert (done.returncode, SECRET in done.stderr) == (1, False)


def test_a_column_with_the_name_of_a_field_is_refused(place: Place, broker: Broker, topic: str):
    place.job(output={"prediction": "source_offset"})
    options = ("--from", broker.address(topic), "--to", broker.address(f"{topic}-out"))
    done = command(place, *options)
    assert done.returncode == 6
    assert "so it cannot be streamed; give the column another name" in done.stderr


def test_metrics_and_probes(place: Place, broker: Broker, topic: str, start: Start):
    broker.produce(topic, [row(1), row(2), "no row"])
    stream = start(place, topic, "--metrics-port", "0")
    stream.wait(lambda: stream.total() == 3)
    labels = 'group="scoring.sample",job="sample",outcome="{}",version="v1"'
    for outcome, count in (("scored", 2.0), ("unreadable", 1.0), ("left_out", 0.0)):
        line = f"scoring_stream_messages_total{{{labels.format(outcome)}}} {count}"
        stream.wait(lambda line=line: line in stream.metrics())  # type: ignore[misc]
    lags = re.findall(r'scoring_stream_lag\{.*partition="(\d)"\} (\S+)', stream.metrics())
    assert sorted(lags) == [("0", "0.0"), ("1", "0.0")]
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/", 404), ("/metrics/x", 404)):
        answer = httpx.get(stream.url() + path)
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (status, "nosniff")
    assert httpx.post(f"{stream.url()}/metrics").status_code == 501


def test_metrics_ask_for_a_token(place: Place, broker: Broker, topic: str, start: Start):
    tokens = place.folder / "tokens"
    tokens.write_text(f"{SECRET}\n")
    stream = start(place, topic, "--metrics-port", "0", "--metrics-tokens", str(tokens))
    known = {"Authorization": f"Bearer {SECRET}"}
    for headers, status in (({}, 401), ({"Authorization": "Bearer x"}, 401), (known, 200)):
        assert httpx.get(f"{stream.url()}/metrics", headers=headers).status_code == status
    assert httpx.get(f"{stream.url()}/healthz").status_code == 200
    assert httpx.get(f"{stream.url()}/other").status_code == 401
    assert SECRET not in stream.log.read_text()


def test_a_port_that_is_taken_is_one_error(place: Place, broker: Broker, topic: str):
    options = ("--from", broker.address(topic), "--to", broker.address(f"{topic}-out"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command(place, *options, "--metrics-port", str(taken.getsockname()[1]))
    assert (done.returncode, "Address already in use" in done.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_what_it_has_begun_is_done(
    number: signal.Signals, place: Place, broker: Broker, topic: str, start: Start
):
    stream = start(place, topic)
    broker.produce(topic, [row(n) for n in range(3000)])
    stream.wait(lambda: stream.total() > 0)
    stream.process.send_signal(number)
    assert stream.process.wait(60) == 0
    assert "gives back partitions" in stream.log.read_text()
    committed = sum(broker.committed("scoring.sample", topic, 2).values())
    assert committed == stream.total() > 0
    assert len(broker.read(f"{topic}-out", at_least(committed))) == committed


def test_a_terminal_shows_a_line_for_each_group(place: Place, broker: Broker, topic: str):
    broker.produce(topic, [row(n) for n in range(50)] + ["no row"])
    extra = {"bootstrap.servers": broker.server, "session.timeout.ms": 6000}
    connection = json.dumps({"conn_type": "kafka", "extra": extra})
    folders = ("--jobs", str(place.folder), "--data", str(place.data), "--now", "2013-03-01")
    topics = ("--from", f"kafka:///{topic}", "--to", f"kafka:///{topic}-out")
    arguments = module("scoring", "stream", *folders, *topics, "--connection-id", "k")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"AIRFLOW_CONN_K": connection, "COLUMNS": "160", "TERM": "xterm"},
    )
    os.close(theirs)
    shown, until = b"", time.monotonic() + 120
    try:
        while not re.search(rb"scoring\.sample +v1 .* 50 +0 +1 ", shown):
            assert time.monotonic() < until, shown.decode()
            if select.select([ours], [], [], 0.5)[0]:
                shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            if select.select([ours], [], [], 0.5)[0]:
                with suppress(OSError):  # it has ended
                    os.read(ours, 65_536)
    finally:
        process.kill()
        os.close(ours)
    assert process.wait() == 0
    assert b"messages/s" in shown
    assert b"dead letters" in shown


def test_the_log_has_the_state_where_there_is_no_terminal(
    place: Place, broker: Broker, topic: str, tmp_path: Path
):
    broker.produce(topic, [row(1)])
    options = ("--from", broker.address(topic), "--to", broker.address(f"{topic}-out"))
    done = command(place, *options, "--until-end")
    assert done.returncode == 0
    assert "scoring.sample: version v1" in done.stderr
    assert "lag 0, 1 scored, 0 left out, 0 dead letters" in done.stderr
    assert done.stdout == ""
