"""Where messages are: ``kafka://HOST:PORT[,HOST:PORT…]/TOPIC``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scoring.errors import StreamError

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""What Kafka takes: https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/internals/Topic.java"""
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
_EXAMPLE = "kafka://broker:9092/topic"


@dataclass(frozen=True)
class TopicAddress:
    """A topic; ``servers`` are where to ask first, and "" where the connection says it."""

    servers: str
    topic: str

    def __str__(self) -> str:
        return f"kafka://{self.servers}/{self.topic}"

    def of_job(self, job: str) -> TopicAddress:
        """Return the topic of ``job``, where ``{job}`` stands in the name."""
        return TopicAddress(self.servers, _checked(self.topic.replace("{job}", job)))

    def of_version(self, version: str) -> TopicAddress:
        """Return the topic beside this one that is for the challenger ``version``."""
        return TopicAddress(self.servers, _checked(f"{self.topic}.challenger.{version}"))

    def dead_letters(self) -> TopicAddress:
        """Return the topic beside this one that is for messages without a prediction."""
        return TopicAddress(self.servers, f"{self.topic}.dead-letters")


def parse_address(text: str, template: bool = False) -> TopicAddress:
    """Return the address that ``text`` is; ``template``: ``{job}`` may stand in the topic.

    Raises StreamError.
    """
    scheme, _, rest = text.partition("://")
    servers, _, topic = rest.partition("/")
    if "@" in servers:
        raise StreamError(
            "an address has no user and no password, which everybody could read on the command line; "
            "--connection-id names an Airflow connection that has them"
        )
    if scheme != "kafka" or not topic or "?" in topic or "#" in topic:
        raise StreamError(f"{text!r} is not an address such as {_EXAMPLE}")
    for server in servers.split(",") if servers else ():
        if not _SERVER.fullmatch(server):
            raise StreamError(f"{server!r} is not a broker such as broker:9092 ({_EXAMPLE})")
    _checked(topic.replace("{job}", "job") if template else topic)
    return TopicAddress(servers, topic)


def _checked(topic: str) -> str:
    if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise StreamError(
            f"{topic!r} is not a topic: its name has at most 249 letters, digits, '.', '_' and '-'"
        )
    return topic
