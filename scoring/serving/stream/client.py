"""How the brokers are reached: settings of librdkafka, from an Airflow connection.

https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html lists what may stand in the
``extra`` of the connection, as Airflow's own Kafka hooks take it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from scoring.errors import SourceError, StreamError, needs_extra
from scoring.serving.stream.address import TopicAddress
from scoring.serving.stream.settings import StreamSettings
from scoring.sources.databases.environment import connection_in_environment

with needs_extra("stream", "streams"):
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
"""How long the brokers may take to say which topics there are."""

_OWN = (
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "partition.assignment.strategy",
    "acks",
    "transactional.id",
    "isolation.level",
)
"""Settings on which the account of the messages rests, so that a connection does not change them."""

IDEMPOTENCE = "enable.idempotence"
"""Set to false by a connection whose brokers refuse it, or lose what it sends again after a restart."""

_REPEATED_SECONDS = 30.0


def client_settings(address: TopicAddress, conn_id: str | None) -> dict[str, Any]:
    """Return the settings with which ``address`` is reached.

    Raises StreamError where no brokers are named, or others than the connection names.
    """
    found = _of_connection(conn_id) if conn_id is not None else {}
    servers = found.get("bootstrap.servers")
    if address.servers and servers and servers != address.servers:
        raise StreamError(
            f"{address} names other brokers than the connection {conn_id!r} ({servers}), which its "
            f"password is for; write kafka:///{address.topic}"
        )
    if not address.servers and not servers:
        raise StreamError(
            f"{address} names no broker; write kafka://HOST:PORT/{address.topic}, or --connection-id "
            'with a connection whose extra has "bootstrap.servers"'
        )
    return {
        **found,
        "bootstrap.servers": address.servers or servers,
        "client.id": found.get("client.id", "scoring"),
        "log.connection.close": False,
        "reconnect.backoff.max.ms": found.get("reconnect.backoff.max.ms", 2_000),
    }


def source_client(settings: StreamSettings) -> dict[str, Any]:
    """Return the settings with which a stream's messages are read; raises as ``client_settings``."""
    found = client_settings(settings.source, settings.source_connection)
    found.pop(IDEMPOTENCE, None)  # of one who writes; librdkafka would warn
    return found


def results_client(settings: StreamSettings) -> dict[str, Any]:
    """Return the settings with which its results are written; raises as ``client_settings``."""
    connection = settings.results_connection or settings.source_connection
    return client_settings(settings.results or settings.source, connection)


def _of_connection(conn_id: str) -> dict[str, Any]:
    try:
        connection = connection_in_environment(conn_id)
    except SourceError as error:
        raise StreamError(str(error).replace("postgres://USER:PASSWORD@HOST:5432/DATABASE", (
            '{"conn_type": "kafka", "extra": {"bootstrap.servers": "HOST:9092"}}'
        ))) from None  # fmt: skip
    if connection.conn_type != "kafka":
        raise StreamError(
            f"the connection {conn_id!r} is of the type {connection.conn_type!r}, not kafka"
        )
    found = {name: value for name, value in connection.extra.items() if name not in _OWN}
    if connection.login:
        found.setdefault("sasl.username", connection.login)
    if connection.password:
        found.setdefault("sasl.password", connection.password)
    return found


def check_topics(settings: Mapping[str, Any], topics: Iterable[str]) -> None:
    """Raise StreamError where the brokers do not answer, or have none of these ``topics``."""
    servers = settings["bootstrap.servers"]
    admin = made(AdminClient, settings, logged=False)
    try:
        # All of them: some brokers make a topic that is asked for by its name.
        found = admin.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise StreamError(
            f"{servers} cannot be asked for its topics: {describe(error)}. Check the address, and the "
            "connection's security.protocol"
        ) from None
    for topic in topics:
        if topic not in found:
            raise StreamError(
                f"there is no topic {topic} at {servers}, or it may not be used. Create it, for example: "
                f"kafka-topics.sh --create --topic {topic} --bootstrap-server {servers}"
            )


def made(kind: Any, settings: Mapping[str, Any], logged: bool = True) -> Any:
    """Return a client of ``kind``; raise StreamError for a setting that librdkafka refuses.

    ``logged``: what librdkafka has to say goes to Python's log.
    """
    try:
        if not logged:
            return kind({**settings, "log_level": 2})
        return kind(dict(settings), logger=_logger())
    except (KafkaException, TypeError, ValueError) as error:
        raise StreamError(f"the connection's settings are refused: {describe(error)}") from None


def describe(error: Exception | Any) -> str:
    """Return what an error of librdkafka says, without its numbers."""
    found = error.args[0] if isinstance(error, KafkaException) and error.args else error
    text = found.str() if hasattr(found, "str") else str(found)
    return str(text).strip().rstrip(".")


def _logger() -> logging.Logger:
    found = logging.getLogger("scoring.kafka")
    if not found.filters:
        found.addFilter(_NotRepeated())
    return found


class _NotRepeated(logging.Filter):
    """Lets each kind of message pass once in a while: librdkafka logs every attempt to connect."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.getMessage().partition(" ")[0]
        now, last = time.monotonic(), self._last.get(kind)
        if last is not None and now - last < _REPEATED_SECONDS:
            return False
        self._last[kind] = now
        return True
