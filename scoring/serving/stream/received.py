"""A message as it was read, and its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Received(NamedTuple):
    """``sent_ms`` is the moment of the message in milliseconds since 1970, as its producer or the
    broker has set it.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    sent_ms: int


def offsets_after(messages: Iterable[Received]) -> dict[int, int]:
    """Return, for each partition, the offset after the last of ``messages``."""
    return {message.partition: message.offset + 1 for message in messages}
