"""Results on their way to the brokers, and whether they have arrived."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from scoring.errors import ScoringError, needs_extra
from scoring.serving.stream.client import IDEMPOTENCE, describe, made
from scoring.serving.stream.messages import Outgoing

with needs_extra("stream", "streams"):
    from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

log = logging.getLogger(__name__)

_TRANSACTION_SECONDS = 60.0

_CLIENT_ERRORS = (KafkaException, SystemError)
"""What the client raises: a fatal error while it calls back becomes a SystemError, with the cause."""

Smaller = Callable[[Outgoing], Outgoing | None]


class UndeliveredError(ScoringError):
    """Results that the brokers do not take; another try may succeed."""


class Delivery:
    """Messages that were sent; ``done`` when the brokers have acknowledged or refused each.

    ``refused`` has the errors of the refused ones, by their places in ``messages``; ``final`` are those
    of which nothing smaller could be sent.
    """

    def __init__(self, messages: list[Outgoing]) -> None:
        self.messages = messages
        self.refused: dict[int, KafkaError] = {}
        self.open = len(messages)
        self.final: set[int] = set()

    @property
    def done(self) -> bool:
        return self.open == 0

    @property
    def too_large(self) -> bool:
        """Whether what was refused can be sent if it is made smaller."""
        codes = {error.code() for error in self.refused.values()}
        return codes == {KafkaError.MSG_SIZE_TOO_LARGE} and not self.final & self.refused.keys()

    def arrived(self, error: KafkaError | None, message: Any) -> None:
        """Take the answer of the brokers to a message."""
        self.open -= 1
        if error is not None:
            self.refused[self._places[message.key()]] = error

    @cached_property
    def _places(self) -> dict[bytes, int]:
        return {message.key: place for place, message in enumerate(self.messages)}


class ResultWriter:
    """Sends messages, each acknowledged by all brokers that have to have it.

    ``name`` makes it transactional: what ``deliver`` sends becomes visible together with the offsets
    of what it was made of, or not at all. ``last_error`` is what went wrong last on the way to the
    brokers.
    """

    def __init__(self, settings: Mapping[str, Any], name: str | None = None) -> None:
        self._transactional = name is not None
        own: dict[str, Any] = {"acks": "all", "error_cb": self._note}
        if name is not None:
            own |= {
                IDEMPOTENCE: True,
                "transactional.id": name,
                "transaction.timeout.ms": int(_TRANSACTION_SECONDS * 1000),
            }
        else:
            own["message.timeout.ms"] = 0  # brokers that are away are waited for
        defaults = {IDEMPOTENCE: True, "linger.ms": 5, "queue.buffering.max.kbytes": 262_144}
        self._settings = {**defaults, **settings, **own}
        self._producer: Any = None
        self.last_error = ""

    def send(self, messages: list[Outgoing]) -> Delivery:
        """Send ``messages``."""
        delivery = Delivery(messages)
        for place in range(len(messages)):
            self._produce(delivery, place)
        return delivery

    def send_again(self, delivery: Delivery, smaller: Smaller) -> None:
        """Send those messages of ``delivery`` again that were refused."""
        refused, delivery.refused = delivery.refused, {}
        if any(error.fatal() for error in refused.values()):
            self.reset()
        delivery.open += len(refused)
        for place, error in refused.items():
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                found = smaller(delivery.messages[place])
                if found is None:
                    delivery.final.add(place)
                else:
                    delivery.messages[place] = found
            self._produce(delivery, place)

    def poll(self, seconds: float) -> None:
        """Take what the brokers have answered; wait up to ``seconds`` for it.

        Raises UndeliveredError where the producer cannot go on: what it was given is to be sent again.
        """
        try:
            self._ready().poll(seconds)
        except _CLIENT_ERRORS as error:
            self.reset()
            raise UndeliveredError(describe(_of_client(error))) from None

    def deliver(
        self,
        messages: Sequence[Outgoing],
        smaller: Smaller,
        offsets: Sequence[TopicPartition],
        group: Any,
    ) -> list[Outgoing]:
        """Send ``messages`` and commit ``offsets`` for the member ``group`` in one transaction.

        Returns what was sent. Raises UndeliveredError: nothing of it is to be seen then, and no
        offset was committed.
        """
        try:
            producer = self._ready()
            producer.begin_transaction()
            delivery = self.send(list(messages))
            producer.flush(_TRANSACTION_SECONDS)
            while delivery.too_large:
                self.send_again(delivery, smaller)
                producer.flush(_TRANSACTION_SECONDS)
            if delivery.refused or not delivery.done:
                error = next(iter(delivery.refused.values()), KafkaError(KafkaError._TIMED_OUT))
                raise KafkaException(error)
            producer.send_offsets_to_transaction(list(offsets), group, _TRANSACTION_SECONDS)
            producer.commit_transaction(_TRANSACTION_SECONDS)
        except _CLIENT_ERRORS as error:
            found = _of_client(error)
            self._abort(found)
            raise UndeliveredError(describe(found)) from None
        return delivery.messages

    def reset(self) -> None:
        """Begin with a new producer: this one cannot go on."""
        if self._producer is not None:
            with suppress(*_CLIENT_ERRORS):
                self._producer.purge()
                self._producer.flush(1.0)
            self._producer = None

    def close(self) -> None:
        """Forget what is not acknowledged yet."""
        self.reset()

    def _ready(self) -> Any:
        if self._producer is None:
            # Not logged: a fatal error and a line of the log at once are too much for the client.
            producer = made(Producer, self._settings, logged=False)
            if self._transactional:
                producer.init_transactions(_TRANSACTION_SECONDS)
            self._producer = producer
        return self._producer

    def _note(self, error: KafkaError) -> None:
        self.last_error = describe(error)

    def _abort(self, error: KafkaException) -> None:
        found = error.args[0] if error.args else None
        if self._producer is None:
            return
        try:
            if isinstance(found, KafkaError) and found.fatal():
                raise error
            self._producer.abort_transaction(_TRANSACTION_SECONDS)
        except _CLIENT_ERRORS:
            self.reset()

    def _produce(self, delivery: Delivery, place: int) -> None:
        producer, message = self._ready(), delivery.messages[place]
        while True:
            try:
                producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    on_delivery=delivery.arrived,
                    headers=message.headers,
                )
                return
            except BufferError:  # the brokers are slower
                self.poll(0.1)
            except KafkaException as error:
                delivery.open -= 1
                delivery.refused[place] = error.args[0]
                return


def _of_client(error: Exception) -> KafkaException:
    """Return what librdkafka has said."""
    found = error if isinstance(error, KafkaException) else error.__cause__
    if not isinstance(found, KafkaException):
        raise error
    return found
