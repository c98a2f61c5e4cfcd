"""`python -m devstack send` and `read`: messages to and from a topic of a broker that asks for no
password, as that of `make stack STREAM=1`.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from devstack.errors import DevstackError
from scoring.serving.stream.address import TopicAddress, parse_address

TIMEOUT_SECONDS = 10


def send(address: str, values: Iterable[str]) -> int:
    """Send each of `values` as a message; return how many there were, once all are acknowledged."""
    topic = _with_brokers(address)
    _partitions(topic)
    refused: list[str] = []

    def acknowledged(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error.str())

    producer = Producer({**_settings(topic), "message.timeout.ms": TIMEOUT_SECONDS * 1_000})
    count = 0
    for count, value in enumerate(values, 1):
        if count % 10_000 == 0:  # its queue takes 100,000
            producer.flush()
        producer.produce(topic.topic, value.encode(), on_delivery=acknowledged)
    producer.flush()
    if refused:
        raise DevstackError(f"{len(refused)} of {count} messages are not in {topic}: {refused[0]}")
    return count


def lines_of_input() -> Iterator[str]:
    """Yield the lines of standard input that are not empty."""
    return (line for line in map(str.strip, sys.stdin) if line)


def read(address: str, to_end: bool) -> None:
    """Print the messages of a topic from its first one on, one a line, and those that come until
    Ctrl-C; `to_end`: only those that are there.

    What the headers say, such as why a message is a dead letter, stands behind a tab.
    """
    topic = _with_brokers(address)
    consumer = Consumer({
        **_settings(topic), "group.id": "devstack", "enable.auto.commit": False,
        "enable.partition.eof": True,
    })  # fmt: skip
    try:
        unread = _partitions(topic)
        consumer.assign([TopicPartition(topic.topic, n, OFFSET_BEGINNING) for n in unread])
        while unread or not to_end:
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None:
                print(_line(message), flush=True)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread -= {message.partition()}
            elif error.fatal():  # others pass, such as those of a broker that is restarted
                raise DevstackError(f"{topic} cannot be read: {error.str()}")
    finally:
        consumer.close()


def _partitions(topic: TopicAddress) -> set[int]:
    """Return the partitions of a topic; DevstackError where it is missing, which some brokers would
    make at the first message.
    """
    try:
        found = AdminClient(_settings(topic)).list_topics(timeout=TIMEOUT_SECONDS).topics
    except KafkaException as error:
        raise DevstackError(f"{topic.servers} does not answer: {error.args[0].str()}") from None
    if topic.topic not in found:
        raise DevstackError(f"there is no topic {topic.topic} at {topic.servers}")
    return set(found[topic.topic].partitions)


def _line(message: Any) -> str:
    value = (message.value() or b"").decode(errors="replace")
    headers = {
        name: (text or b"").decode(errors="replace") for name, text in message.headers() or ()
    }
    return f"{value}\t{json.dumps(headers, ensure_ascii=False)}" if headers else value


def _settings(topic: TopicAddress) -> dict[str, Any]:
    return {"bootstrap.servers": topic.servers, "log_level": 0}


def _with_brokers(address: str) -> TopicAddress:
    topic = parse_address(address)
    if not topic.servers:
        raise DevstackError(f"{address} names no broker; write kafka://HOST:PORT/{topic.topic}")
    return topic
