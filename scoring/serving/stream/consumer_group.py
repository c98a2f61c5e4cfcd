"""One job, or one of its challengers, as a consumer group: read, score, send, commit.

While the results of a batch are on their way, the next one is scored. The offsets of a batch are
committed when the brokers have acknowledged the results of all its messages, so that a message gets
at least one result, however this process ends.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from scoring.errors import ResourceError, ScorerError, ScoringError, needs_extra
from scoring.serving.scorer import RequestScorer
from scoring.serving.stream.careful import BrokenScorerError, CarefulScorer
from scoring.serving.stream.client import describe, results_client, source_client
from scoring.serving.stream.messages import Envelope, Outgoing, Topics
from scoring.serving.stream.received import Received, offsets_after
from scoring.serving.stream.result_writer import Delivery, ResultWriter, UndeliveredError
from scoring.serving.stream.settings import StreamSettings
from scoring.serving.stream.status import StreamStatus
from scoring.serving.stream.topic_reader import TopicReader

with needs_extra("stream", "streams"):
    from confluent_kafka import TopicPartition

log = logging.getLogger(__name__)

_OUTCOME = attrgetter("outcome")
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Between tries; the last one again and again."""
_SLOW_SECONDS = 2.0
"""After so long without an answer, the brokers of the results are said to be slow."""
_GIVE_BACK_SECONDS = 10.0
"""How long partitions that another member is to get wait for results on their way."""


@dataclass
class Batch:
    """Messages whose results are on their way."""

    messages: list[Received]
    delivery: Delivery
    careful: CarefulScorer

    def offsets(self) -> dict[int, int]:
        """Return, for each partition, the offset after the last of these messages."""
        return offsets_after(self.messages)


class ConsumerGroup:
    """Scores the messages of a topic with what ``scorer`` returns, until ``stop`` is set.

    ``scorer`` is asked before each batch, so that another version takes over between two of them:
    once it has scored a message that the one before it has scored.
    """

    def __init__(
        self,
        settings: StreamSettings,
        status: StreamStatus,
        topics: Topics,
        scorer: Callable[[], RequestScorer],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._status = status
        self._topics = topics
        self._scorer = scorer
        self._stop = stop
        self._careful: CarefulScorer | None = None
        self._refused: RequestScorer | None = None
        self._held: list[Received] = []
        self._tries = 0
        self._sent: Batch | None = None
        self._settling = False
        self._writer = ResultWriter(
            results_client(settings),
            f"{status.group}.{secrets.token_hex(8)}" if settings.transactional else None,
        )
        self._reader = TopicReader(
            source_client(settings),
            settings.source.topic,
            status.group,
            settings.start,
            status,
            self._give_back,
        )

    def run(self) -> None:
        """Score until it is to stop, or, with ``until_end``, until all messages are scored.

        Raises StreamError and KafkaException where the brokers refuse.
        """
        self._status.running = True
        try:
            while not self._stop.is_set():
                self._step()
                if self._settings.until_end and self._is_done():
                    break
            self._end()
        finally:
            self._status.running = False
            self._sent = None  # what is not committed by now is not waited for while it leaves
            self._writer.close()
            self._reader.close()

    def _is_done(self) -> bool:
        return self._reader.at_end and not self._held and self._sent is None

    def _step(self) -> None:
        messages = self._next_messages()
        if not messages:
            self._settle()
            return
        try:
            careful = self._in_use(messages)
            outgoing = careful.score(messages)
        except (BrokenScorerError, ResourceError) as error:
            self._hold(messages, error)
            return
        if self._held:
            self._held, self._tries, self._status.problem = [], 0, None
        if self._settings.transactional:
            self._deliver(messages, outgoing, careful)
            return
        if not self._settle():  # it is to end: what follows must not be committed before
            return
        still = self._still_owned(messages)
        if len(still) < len(messages):  # some were given back while the last ones were settled
            kept = {(message.partition, message.offset) for message in still}
            outgoing = [o for o in outgoing if (o.source.partition, o.source.offset) in kept]
        self._sent = Batch(still, self._writer.send(outgoing), careful)

    def _next_messages(self) -> list[Received]:
        """Return messages to score: those that are held, and new ones as far as there is room."""
        room = self._settings.max_batch - len(self._held)
        wait = self._settings.max_wait_seconds
        if not self._held:
            return self._reader.read(room, wait)
        pause = _PAUSES_SECONDS[min(self._tries, len(_PAUSES_SECONDS)) - 1]
        until = time.monotonic() + pause
        while time.monotonic() < until and not self._stop.is_set():
            if self._scorer_has_changed():
                break
            if room > 0:
                new = self._reader.read(room, wait)
                self._held += new
                room -= len(new)
            else:
                self._reader.keep_alive(wait)
        if self._stop.is_set():
            return []
        return list(self._held)

    def _scorer_has_changed(self) -> bool:
        newest = self._scorer()
        if self._careful is None:
            return False
        return newest is not self._careful.scorer and newest is not self._refused

    def _in_use(self, messages: list[Received]) -> CarefulScorer:
        """Return what scores ``messages``: the newest version, unless it fails where the one before
        does not.
        """
        newest, before = self._scorer(), self._careful
        if before is not None and newest is before.scorer:
            return before
        careful, problem = self._taking_over(newest, messages)
        if careful is None:
            assert before is not None
            self._status.problem = (
                f"version {newest.file.version} is not used: {problem}. Version "
                f"{before.scorer.file.version}, as it was loaded before, goes on"
            )
            if self._refused is not newest:
                log.error("%s: %s", self._status.group, self._status.problem)
            self._refused = newest
            return before
        if before is not None:
            log.info("%s: scores with version %s", self._status.group, newest.file.version)
        self._careful, self._refused = careful, None
        self._status.version, self._status.problem = newest.file.version, None
        return careful

    def _taking_over(
        self, newest: RequestScorer, messages: list[Received]
    ) -> tuple[CarefulScorer | None, str]:
        """Return what scores with ``newest``; None, and why, where it scores neither what the version
        before it has scored nor what comes now.
        """
        before = self._careful
        try:
            envelope = Envelope(newest.job, newest.file, self._topics)
        except ScorerError as error:
            if before is None:
                raise
            return None, str(error)
        careful = CarefulScorer(newest, envelope, self._settings.format)
        known = before.last_scored if before is not None else None
        if known is None or (problem := careful.problem_with(known)) is None:
            return careful, ""
        return (careful, "") if careful.problem_with(messages[-1]) is None else (None, problem)

    def _hold(self, messages: list[Received], error: ScoringError) -> None:
        """Keep ``messages`` for another try; nothing is decided about them."""
        text = f"{len(messages):,} messages wait: {error}"
        if self._status.problem != text:
            log.error("%s: %s. Trying again", self._status.group, text)
        self._status.problem = text
        self._status.retries += 1
        self._tries += 1
        self._held = messages
        self._settle()
        if self._settings.until_end and self._tries > len(_PAUSES_SECONDS):
            raise error

    def _settle(self, seconds: float | None = None) -> bool:
        """Wait until the results that are on their way have arrived, and commit; whether they have.

        ``seconds`` is how long; None: as long as it takes, or until this is to stop.
        """
        batch = self._sent
        if batch is None or self._settling:
            return batch is None
        self._settling = True
        try:
            arrived = self._wait_for(batch, seconds)
        finally:
            self._settling = False
        if arrived:
            self._sent = None
            self._reader.commit(batch.offsets())
            self._count(batch.messages, batch.delivery.messages, batch.careful)
        return arrived

    def _wait_for(self, batch: Batch, seconds: float | None) -> bool:
        begun, tries = time.monotonic(), 0
        while not (delivery := batch.delivery).done or delivery.refused:
            waited = time.monotonic() - begun
            limit = seconds
            if limit is None and self._stop.is_set():
                limit = self._settings.stop_seconds
            if limit is not None and waited > limit:
                return False
            try:
                self._writer.poll(0.05)
            except UndeliveredError as undelivered:
                self._say_refused(str(undelivered), len(delivery.messages))
                self._pause(tries, limit)
                tries += 1
                batch.delivery = self._writer.send(delivery.messages)
                continue
            if delivery.done and delivery.refused:
                error = next(iter(delivery.refused.values()))
                if not delivery.too_large:
                    self._say_refused(describe(error), len(delivery.refused))
                    self._pause(tries, limit)
                    tries += 1
                self._writer.send_again(delivery, batch.careful.envelope.smaller)
            elif waited > _SLOW_SECONDS:
                if self._status.waiting is None:
                    self._say_refused(self._writer.last_error or "no answer yet", delivery.open)
                if seconds is None:
                    self._reader.keep_alive(0.05)
        self._status.waiting = None
        return True

    def _say_refused(self, why: str, count: int) -> None:
        text = f"{count:,} results wait for {self._topics.results} and its brokers: {why}"
        if self._status.waiting is None:
            log.warning("%s: %s. Nothing is committed until they arrive", self._status.group, text)
        self._status.waiting = text
        self._status.retries += 1

    def _pause(self, tries: int, limit: float | None) -> None:
        """Wait before another try, as a member of the group."""
        seconds = _PAUSES_SECONDS[min(tries, len(_PAUSES_SECONDS) - 1)]
        until = time.monotonic() + (seconds if limit is None else min(seconds, limit))
        while time.monotonic() < until and not self._stop.is_set():
            self._reader.keep_alive(0.1)

    def _deliver(
        self, messages: list[Received], outgoing: list[Outgoing], careful: CarefulScorer
    ) -> None:
        """Send results and offsets in one transaction, again and again until it is committed."""
        tries = 0
        while True:
            owned = self._reader.owned
            messages = self._still_owned(messages)
            outgoing = [o for o in outgoing if o.source.partition in owned]
            if not messages:
                return
            places = [
                TopicPartition(self._reader.topic, partition, offset)
                for partition, offset in offsets_after(messages).items()
            ]
            try:
                sent = self._writer.deliver(
                    outgoing, careful.envelope.smaller, places, self._reader.group_metadata()
                )
            except UndeliveredError as error:
                self._say_refused(str(error), len(outgoing))
                self._pause(tries, None)
                tries += 1
                if self._stop.is_set():
                    log.warning("%s: ends with an aborted transaction", self._status.group)
                    self._held = messages
                    return
                continue
            self._status.waiting = None
            self._count(messages, sent, careful)
            return

    def _give_back(self, partitions: set[int]) -> None:
        """Commit what was done for ``partitions``, which another member is to get."""
        if partitions & self._reader.owned:  # else they are lost, and nothing can be committed
            self._settle(_GIVE_BACK_SECONDS)
        if (sent := self._sent) is not None:
            # Their new member reads the messages again, whose results are equal.
            sent.messages = [m for m in sent.messages if m.partition not in partitions]
        if self._held:
            self._held = [m for m in self._held if m.partition not in partitions]
            if not self._held:
                self._tries, self._status.problem = 0, None

    def _still_owned(self, messages: list[Received]) -> list[Received]:
        owned = self._reader.owned
        return [message for message in messages if message.partition in owned]

    def _count(
        self, messages: list[Received], sent: list[Outgoing], careful: CarefulScorer
    ) -> None:
        self._status.count(careful.scorer.file.version, Counter(map(_OUTCOME, sent)))
        self._reader.handled(offsets_after(messages))

    def _end(self) -> None:
        if not self._settle():
            assert self._sent is not None
            log.warning(
                "%s: ends before %s results were acknowledged; their messages are not committed, and "
                "will be scored again",
                self._status.group,
                f"{self._sent.delivery.open + len(self._sent.delivery.refused):,}",
            )
        if self._held:
            log.warning(
                "%s: ends with %s messages that were not scored; they are not committed",
                self._status.group,
                f"{len(self._held):,}",
            )


def status_of(settings: StreamSettings, job: str, kind: str | None) -> StreamStatus:
    """Return the status of a group of ``job`` before it begins; ``kind`` is None for the version in
    force, else what distinguishes it.
    """
    return StreamStatus(job, ".".join(filter(None, (settings.group, job, kind))))


def topics_of(settings: StreamSettings, job: str, challenger: str | None) -> Topics:
    """Return where the results and dead letters of ``job`` go, or of one of its challengers."""
    results = settings.results
    assert results is not None
    results = results.of_job(job)
    dead = settings.dead_letters.of_job(job) if settings.dead_letters else results.dead_letters()
    if challenger is not None:
        results, dead = results.of_version(challenger), dead.of_version(challenger)
    return Topics(results.topic, dead.topic)
