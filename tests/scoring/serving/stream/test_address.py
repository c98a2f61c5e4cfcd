"""Addresses of topics, and the connections to their brokers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scoring.errors import StreamError
from scoring.serving.settings import Settings
from scoring.serving.stream.address import TopicAddress, parse_address
from scoring.serving.stream.client import client_settings, results_client, source_client
from scoring.serving.stream.settings import StreamSettings


def test_an_address_has_brokers_and_a_topic():
    assert parse_address("kafka://a:9092,b:9093/flights") == TopicAddress(
        "a:9092,b:9093", "flights"
    )
    assert parse_address("kafka://[::1]:9092/t.1_x-y") == TopicAddress("[::1]:9092", "t.1_x-y")
    assert parse_address("kafka:///flights") == TopicAddress("", "flights")
    found = parse_address("kafka://a/predictions.{job}", template=True).of_job("delay")
    assert str(found) == "kafka://a/predictions.delay"
    assert str(found.dead_letters()) == "kafka://a/predictions.delay.dead-letters"
    assert str(found.of_version("v3")) == "kafka://a/predictions.delay.challenger.v3"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("flights", "is not an address such as kafka://broker:9092/topic"),
        ("http://a/flights", "is not an address"),
        ("kafka://a:9092", "is not an address"),
        ("kafka://a:9092/", "is not an address"),
        ("kafka://a:9092/flights?x=1", "is not an address"),
        ("kafka://a:9092/two/parts", "is not a topic"),
        ("kafka://a:9092/with space", "is not a topic"),
        ("kafka://a:9092/..", "is not a topic"),
        ("kafka://a:9092/{job}", "is not a topic"),
        ("kafka://a:port/t", "is not a broker such as broker:9092"),
        ("kafka://a:1,,b:2/t", "is not a broker"),
        ("kafka://a/" + "t" * 250, "at most 249"),
    ],
)
def test_what_is_not_an_address_is_an_error(text: str, error: str):
    with pytest.raises(StreamError, match=error):
        parse_address(text)


def test_an_address_with_a_password_is_refused():
    with pytest.raises(StreamError) as found:
        parse_address("kafka://user:secret-word@a:9092/flights")
    assert "everybody could read on the command line" in str(found.value)
    assert "secret-word" not in str(found.value)


def connection(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_K", json.dumps({"conn_type": "kafka", **values}))


def test_the_extra_of_a_connection_has_the_settings(monkeypatch: pytest.MonkeyPatch):
    extra = {"bootstrap.servers": "a:9092", "security.protocol": "SASL_SSL", "group.id": "theirs"}
    extra |= {"enable.auto.commit": True, "auto.offset.reset": "latest", "acks": 0}
    connection(monkeypatch, login="me", password="word", extra=extra)
    found = client_settings(parse_address("kafka:///t"), "k")
    assert found["bootstrap.servers"] == "a:9092"
    assert (found["sasl.username"], found["sasl.password"]) == ("me", "word")
    assert found["security.protocol"] == "SASL_SSL"
    # What the account of the messages rests on is not theirs to say.
    ours = {"group.id", "enable.auto.commit", "auto.offset.reset", "acks"}
    assert not ours & found.keys()


def test_a_connection_is_for_its_own_brokers(monkeypatch: pytest.MonkeyPatch):
    connection(monkeypatch, password="word", extra={"bootstrap.servers": "a:9092"})
    with pytest.raises(
        StreamError, match=r"names other brokers than the connection 'k' \(a:9092\)"
    ):
        client_settings(parse_address("kafka://b:9092/t"), "k")
    assert client_settings(parse_address("kafka://a:9092/t"), "k")["sasl.password"] == "word"
    connection(monkeypatch, extra={"security.protocol": "ssl"})
    assert client_settings(parse_address("kafka://b:1/t"), "k")["bootstrap.servers"] == "b:1"


def test_what_is_wrong_with_a_connection_is_said(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StreamError, match="names no broker"):
        client_settings(parse_address("kafka:///t"), None)
    with pytest.raises(StreamError, match=r"set AIRFLOW_CONN_K, for example to \{\"conn_type\""):
        client_settings(parse_address("kafka:///t"), "k")
    monkeypatch.setenv("AIRFLOW_CONN_K", "postgres://a/b")
    with pytest.raises(StreamError, match="is of the type 'postgres', not kafka"):
        client_settings(parse_address("kafka:///t"), "k")


def test_idempotence_is_the_connections_to_switch_off_and_not_of_the_reader(
    monkeypatch: pytest.MonkeyPatch,
):
    connection(monkeypatch, extra={"bootstrap.servers": "a:9092", "enable.idempotence": False})
    settings = StreamSettings(
        Settings((), Path(), lambda: datetime.now(UTC)),
        parse_address("kafka:///in"),
        parse_address("kafka:///out"),
        None,
        source_connection="k",
    )
    assert "enable.idempotence" not in source_client(settings)
    assert results_client(settings)["enable.idempotence"] is False
