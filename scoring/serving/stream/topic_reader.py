"""A member of a consumer group: messages of the partitions that it is given, and what is committed.

Offsets are committed by the one who has dealt with the messages. A partition that moves on to another
member takes with it what is not committed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scoring.errors import StreamError, needs_extra
from scoring.serving.stream.client import describe, made
from scoring.serving.stream.received import Received, offsets_after
from scoring.serving.stream.status import StreamStatus

with needs_extra("stream", "streams"):
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

log = logging.getLogger(__name__)

_ASK_SECONDS = 15.0
_SETTLED_SECONDS = 15.0
"""How long partitions are on their way from one member to another, at most."""
_LOOK_MILLISECONDS = 1_000
"""How often it is looked at whether a broker is connected: errors say it once, and can be older than what
was received before them and is handled after them."""
_CONTINUES = frozenset(
    (
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
    )
)
"""Errors after which librdkafka goes on by itself."""

OnRevoked = Callable[[set[int]], None]


class TopicReader:
    """Reads ``topic`` as a member of ``group``; ``close`` leaves the group.

    A group without a committed offset begins at the earliest message, or at the end (``latest``).
    ``on_revoked`` is called before partitions are given back, with their numbers: the last moment
    to commit what was done. It is also called for those that are lost already.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        topic: str,
        group: str,
        start: str,
        status: StreamStatus,
        on_revoked: OnRevoked,
    ) -> None:
        self.topic = topic
        self._start = start
        self._status = status
        self._on_revoked = on_revoked
        self.owned: set[int] = set()
        self._next: dict[int, int] = {}
        self._handled: dict[int, int] = {}
        self._ended: set[int] = set()
        self._changed: float | None = None
        self._paused: set[int] = set()
        self._away: str | None = None
        self._consumer = made(
            Consumer,
            {
                "session.timeout.ms": 30_000,
                "fetch.queue.backoff.ms": 50,
                "queued.max.messages.kbytes": 65_536,
                **settings,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",  # where to begin is decided here
                "enable.partition.eof": True,
                "partition.assignment.strategy": "cooperative-sticky",
                "error_cb": self._note,
                "stats_cb": self._look_at_connections,
                "statistics.interval.ms": _LOOK_MILLISECONDS,
            },
        )
        found = self._consumer.list_topics(topic, timeout=_ASK_SECONDS)
        self._partitions = len(found.topics[topic].partitions)
        self._consumer.subscribe(
            [topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
        )

    def read(self, count: int, seconds: float) -> list[Received]:
        """Return up to ``count`` messages that arrive in ``seconds``, in the order of each partition.

        Raises StreamError where the brokers refuse.
        """
        if paused := self._paused & self.owned:
            self._consumer.resume(self._places(paused))
        self._paused.clear()
        return self._received(self._consumer.consume(count, seconds))

    def keep_alive(self, seconds: float) -> None:
        """Stay a member of the group for ``seconds`` without reading on."""
        self._pause()
        message = self._consumer.poll(seconds)
        if message is None:
            return
        if (error := message.error()) is not None:
            self._handle(error, message.partition())
        elif message.partition() in self.owned:
            # Of a partition that was given just now, and so was not paused.
            self._consumer.seek(TopicPartition(self.topic, message.partition(), message.offset()))
            self._pause()

    def _pause(self) -> None:
        if reading := self.owned - self._paused:
            self._consumer.pause(self._places(reading))
            self._paused |= reading

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit the next offset of each partition that this member still has.

        Where the brokers refuse, the partitions have another member, which reads the messages again.
        """
        places = [
            TopicPartition(self.topic, partition, offset)
            for partition, offset in offsets.items()
            if partition in self.owned
        ]
        if not places:
            return
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            log.warning(
                "%s: offsets could not be committed (%s); those messages will be read again",
                self._status.group,
                describe(error),
            )

    def group_metadata(self) -> Any:
        """Return what a transaction needs to commit offsets for this member."""
        return self._consumer.consumer_group_metadata()

    def handled(self, offsets: Mapping[int, int]) -> None:
        """Note that each partition was dealt with up to its offset, which shows in the lag."""
        self._handled |= {n: offset for n, offset in offsets.items() if n in self.owned}
        self._update_lag(offsets)

    @property
    def at_end(self) -> bool:
        """Whether all messages were read that there were, of the partitions that this member has.

        One that does not have all partitions waits a while after each change: what one member gives
        back is on its way to another one.
        """
        if self._changed is None or not self.owned <= self._ended:
            return False
        if len(self.owned) == self._partitions:
            return True
        return time.monotonic() - self._changed > _SETTLED_SECONDS

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _places(self, partitions: set[int]) -> list[TopicPartition]:
        return [TopicPartition(self.topic, partition) for partition in sorted(partitions)]

    def _received(self, messages: Iterable[Any]) -> list[Received]:
        found, topic, ended = [], self.topic, self._ended
        for message in messages:
            error, partition = message.error(), message.partition()
            if error is not None:
                self._handle(error, partition)
            elif partition in self.owned:  # else it came before the partition was given back
                found.append(
                    Received(
                        topic,
                        partition,
                        message.offset(),
                        message.key(),
                        message.value(),
                        message.timestamp()[1],
                    )
                )
                ended.discard(partition)
        if found:
            read = offsets_after(found)
            self._next |= read
            self._update_lag(read)
        return found

    def _update_lag(self, partitions: Iterable[int]) -> None:
        """Note how many messages follow those that were dealt with, as far as the brokers have said."""
        for partition in self.owned.intersection(partitions):
            place = TopicPartition(self.topic, partition)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            if high >= 0:
                self._status.lag[partition] = max(0, high - self._handled[partition])

    def _handle(self, error: KafkaError, partition: int) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self._ended.add(partition)
        elif code == KafkaError._AUTO_OFFSET_RESET:
            self._go_on_after_deletion(partition, self._next.get(partition, 0))
        elif code in _CONTINUES or error.retriable():
            self._note(error)
        else:
            raise StreamError(f"{self.topic} cannot be read: {describe(error)}")

    def _note(self, error: KafkaError) -> None:
        """Take note of what keeps the brokers away; librdkafka goes on trying."""
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION):
            self._not_answered(describe(error))

    def _look_at_connections(self, statistics: str) -> None:
        """Note whether a broker is connected, as librdkafka's STATISTICS.md describes ``brokers``."""
        states = [broker["state"] for broker in json.loads(statistics)["brokers"].values()]
        if "UP" in states:
            self._answered()
        else:
            self._not_answered("none of them can be reached")

    def _not_answered(self, why: str) -> None:
        if self._away is None:
            self._away = f"the brokers of {self.topic} do not answer: {why}"
            log.warning("%s: %s", self._status.group, self._away)
        if self._status.waiting is None:
            self._status.waiting = self._away

    def _answered(self) -> None:
        if self._away is not None:
            if self._status.waiting == self._away:
                self._status.waiting = None
            self._away = None
            log.info("%s: the brokers of %s answer again", self._status.group, self.topic)

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._changed = time.monotonic()
        self._status.waiting = None
        committed = consumer.committed(partitions, timeout=_ASK_SECONDS) if partitions else []
        places, begun = [], []
        for place in committed:
            low, high = consumer.get_watermark_offsets(
                TopicPartition(self.topic, place.partition), timeout=_ASK_SECONDS
            )
            offset = place.offset
            if offset < 0:
                offset = high if self._start == "latest" else low
                begun.append(TopicPartition(self.topic, place.partition, offset))
            elif offset < low:
                offset = self._lost(place.partition, offset, low)
            self._next[place.partition] = self._handled[place.partition] = offset
            self._status.lag[place.partition] = max(0, high - offset)
            self._ended.discard(place.partition)
            places.append(TopicPartition(self.topic, place.partition, offset))
        consumer.incremental_assign(places)
        self.owned |= {place.partition for place in places}
        if begun and self._start == "latest":
            # At once: a member that ends before its first message would lose its place.
            consumer.commit(offsets=begun, asynchronous=False)
        if places:
            log.info("%s: reads %s of %s", self._status.group, _numbers(self.owned), self.topic)

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {place.partition for place in partitions}
        self._on_revoked(numbers)
        self._forget(numbers)
        consumer.incremental_unassign(partitions)
        if numbers:
            log.info("%s: gives back %s of %s", self._status.group, _numbers(numbers), self.topic)

    def _lose(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = {place.partition for place in partitions}
        self._forget(numbers)
        self._on_revoked(numbers)
        consumer.incremental_unassign(partitions)
        log.warning(
            "%s: %s of %s are another member's by now, as the brokers did not hear of this one",
            self._status.group,
            _numbers(numbers),
            self.topic,
        )

    def _forget(self, partitions: set[int]) -> None:
        self.owned -= partitions
        self._ended -= partitions
        self._paused -= partitions
        self._changed = time.monotonic()
        for partition in partitions:
            self._next.pop(partition, None)
            self._handled.pop(partition, None)
            self._status.lag.pop(partition, None)

    def _go_on_after_deletion(self, partition: int, offset: int) -> None:
        low, high = self._consumer.get_watermark_offsets(
            TopicPartition(self.topic, partition), timeout=_ASK_SECONDS
        )
        if offset < low:
            found = self._lost(partition, offset, low)
        elif offset > high:
            log.error(
                "%s: partition %s of %s ends at %s, before what was committed (%s): the topic was made "
                "again, or cut. It is read from its beginning",
                self._status.group,
                partition,
                self.topic,
                high,
                offset,
            )
            found = low
        else:
            found = offset
        self._next[partition] = self._handled[partition] = found
        # librdkafka has stopped reading the partition, so that a seek is an error.
        self._consumer.incremental_unassign([TopicPartition(self.topic, partition)])
        self._consumer.incremental_assign([TopicPartition(self.topic, partition, found)])
        self._paused.discard(partition)

    def _lost(self, partition: int, offset: int, low: int) -> int:
        self._status.lost += low - offset
        log.error(
            "%s: %s messages of partition %s of %s (offsets %s to %s) were deleted by the brokers before "
            "they were scored; raise the topic's retention, or add processes",
            self._status.group,
            f"{low - offset:,}",
            partition,
            self.topic,
            offset,
            low - 1,
        )
        return low


def _numbers(partitions: set[int]) -> str:
    return (
        f"partition{'s' if len(partitions) != 1 else ''} {', '.join(map(str, sorted(partitions)))}"
    )
