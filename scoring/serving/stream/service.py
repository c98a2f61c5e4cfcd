"""All consumer groups of a process: one for each job, for each of its challengers, and for archives.

Each has a thread, and none waits for another. They come and go with the job files and with the
challengers that these name.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from scoring.errors import ScoringError, StreamError, needs_extra
from scoring.serving.jobs import Jobs, NotServedError, ServedJob
from scoring.serving.scorer import RequestScorer
from scoring.serving.stream.archive import Archive, check_columns
from scoring.serving.stream.client import check_topics, describe, results_client, source_client
from scoring.serving.stream.consumer_group import ConsumerGroup, status_of, topics_of
from scoring.serving.stream.messages import Envelope
from scoring.serving.stream.result_writer import UndeliveredError
from scoring.serving.stream.settings import StreamSettings
from scoring.serving.stream.status import StreamStatus

with needs_extra("stream", "streams"):
    from confluent_kafka import KafkaException

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 5.0
_TRIES = 5
"""With ``until_end``; else somebody looks at the problem while it goes on."""
_TICK_SECONDS = 0.2

OnStatus = Callable[[list[StreamStatus]], None]


@dataclass(frozen=True)
class GroupName:
    """What a consumer group scores: ``version`` None is the one in force."""

    job: str
    version: str | None = None
    archive: bool = False


@dataclass
class _Running:
    status: StreamStatus
    stop: threading.Event
    thread: threading.Thread
    error: Exception | None = None


class StreamService:
    """Runs the consumer groups that ``settings`` ask for; ``close`` ends them."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._jobs = Jobs(settings.jobs)
        self._running: dict[GroupName, _Running] = {}
        self._loaded: dict[GroupName, tuple[ServedJob, RequestScorer]] = {}
        self._problems: dict[GroupName, str] = {}

    def start(self) -> None:
        """Load the jobs, and start their groups.

        Raises what is wrong with a job, a model, an address or a topic, before a message is read.
        """
        self._jobs.load()
        check_topics(source_client(self._settings), [self._settings.source.topic])
        wanted = self._wanted()
        for name in wanted:
            self._check(name)
        for name in wanted:
            self._start(name)

    def statuses(self) -> list[StreamStatus]:
        """Return the status of each group."""
        return [running.status for running in list(self._running.values())]

    def refresh(self) -> None:
        """Load what has changed; start and end groups accordingly."""
        self._jobs.refresh()
        problems = {state.name: state.problem for state in self._jobs.states()}
        wanted = self._wanted()
        for name in [name for name in self._running if name not in wanted]:
            log.info("%s: ends, as no job file asks for it", self._running[name].status.group)
            self._stop_all([self._running.pop(name)])
        for name in wanted:
            if name not in self._running:
                try:
                    self._check(name)
                except ScoringError as error:
                    if self._problems.get(name) != str(error):
                        log.error("%s cannot be streamed: %s", name.job, error)
                    self._problems[name] = str(error)
                    continue
                self._problems.pop(name, None)
                self._start(name)
        for name, running in self._running.items():
            problem = problems.get(name.job) or self._problems.get(name)
            running.status.job_problem = (
                f"{problem}; what was loaded before goes on" if problem else None
            )

    def failure(self) -> Exception | None:
        """Return the error of a group that has ended with one."""
        for running in self._running.values():
            if running.error is not None:
                return running.error
        return None

    @property
    def ended(self) -> bool:
        """Whether all groups have come to the end of their messages."""
        return not any(running.thread.is_alive() for running in self._running.values())

    def close(self) -> None:
        """End all groups: what was sent is waited for and committed."""
        self._stop_all(list(self._running.values()))

    def _wanted(self) -> list[GroupName]:
        found = []
        for served in self._jobs:
            job, settings = served.job_file.job, self._settings
            if settings.results is not None:
                found.append(GroupName(job.name, settings.version))
                in_force = served.in_force.file.version
                if settings.version is None and settings.challengers:
                    found += [GroupName(job.name, v) for v in job.challengers_of(in_force)]
            if settings.archive is not None:
                found.append(GroupName(job.name, archive=True))
        return found

    def _check(self, name: GroupName) -> None:
        """Raise what keeps a group from being started."""
        settings = self._settings
        scorer = self._scorer_of(name)
        if name.archive:
            check_columns(scorer)
            return
        topics = topics_of(settings, name.job, self._challenger(name))
        Envelope(scorer.job, scorer.file, topics)
        check_topics(results_client(settings), [topics.results, topics.dead_letters])
        if settings.source.topic in (topics.results, topics.dead_letters):
            raise StreamError(
                f"{name.job} would read what it writes: {settings.source.topic} is the topic of its "
                "messages, too"
            )

    def _challenger(self, name: GroupName) -> str | None:
        """Return the version if its results go to a topic of their own, beside those in force."""
        return name.version if self._settings.version is None else None

    def _kind(self, name: GroupName) -> str | None:
        """Return what distinguishes a group from that of the version in force."""
        if name.archive:
            return "archive"
        if name.version is None:
            return None
        return f"{'challenger' if self._challenger(name) else 'version'}.{name.version}"

    def _scorer_of(self, name: GroupName) -> RequestScorer:
        """Return what scores for a group now: what did before, where the newest cannot be loaded."""
        loaded = self._loaded.get(name)
        try:
            served = self._jobs[name.job]
            if loaded is not None and loaded[0] is served:
                return loaded[1]
            found = served.in_force if name.archive else served.scorer(name.version, None)
        except ScoringError as error:
            if loaded is None:
                raise
            if not isinstance(error, NotServedError):  # else the group is about to be ended
                self._problems[name] = str(error)
                self._loaded[name] = (served, loaded[1])
            return loaded[1]
        self._problems.pop(name, None)
        self._loaded[name] = (served, found)
        return found

    def _start(self, name: GroupName) -> None:
        settings, stop = self._settings, threading.Event()
        status = status_of(settings, name.job, self._kind(name))
        running = _Running(status, stop, threading.Thread())
        running.thread = threading.Thread(
            target=self._run, args=(name, running), name=status.group, daemon=True
        )
        self._running[name] = running
        running.thread.start()

    def _run(self, name: GroupName, running: _Running) -> None:
        """Run a group; begin again where the brokers have ended it."""
        settings, status, tries = self._settings, running.status, 0
        while not running.stop.is_set():
            before = status.total
            try:
                self._group(name, running).run()
                return
            except (StreamError, UndeliveredError, KafkaException) as error:
                why = describe(error) if isinstance(error, KafkaException) else str(error)
                status.waiting = f"cannot go on: {why}"
                status.retries += 1
                tries = tries + 1 if status.total == before else 1
                if settings.until_end and tries >= _TRIES:
                    running.error = StreamError(f"{status.group} {status.waiting}")
                    return
                log.error("%s: %s. Trying again", status.group, status.waiting)
            except Exception as error:
                status.waiting = f"{type(error).__name__}: {error}"
                if settings.until_end:
                    running.error = error
                    return
                log.exception("%s: failed, and begins again", status.group)
            running.stop.wait(_AGAIN_SECONDS)

    def _group(self, name: GroupName, running: _Running) -> ConsumerGroup | Archive:
        settings, status, stop = self._settings, running.status, running.stop

        def scorer() -> RequestScorer:
            return self._scorer_of(name)

        if name.archive:
            return Archive(settings, status, scorer, stop)
        topics = topics_of(settings, name.job, self._challenger(name))
        return ConsumerGroup(settings, status, topics, scorer, stop)

    def _stop_all(self, groups: list[_Running]) -> None:
        for running in groups:
            running.stop.set()
        for running in groups:
            running.thread.join()


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for garbage in cycles once in a batch at most: rows are thousands of objects, without any.

    Python's own thresholds took a fifth of the time.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def stream(
    settings: StreamSettings,
    is_to_end: Callable[[], bool],
    on_started: OnStatus,
    on_status: OnStatus,
) -> None:
    """Score until ``is_to_end``, or, with ``until_end``, until all messages are scored.

    ``on_started`` is called once, ``on_status`` several times a second. Raises what is wrong before
    anything is read, and what ends a group with ``until_end``.
    """
    # One thread each: several processes share the cores, and BLAS adds in an order of its own with more.
    with threadpool_limits(1), _rare_collections():
        service = StreamService(settings)
        service.start()
        gc.freeze()  # what is loaded by now stays
        on_started(service.statuses())
        watched = time.monotonic()
        try:
            while not is_to_end():
                time.sleep(_TICK_SECONDS)
                on_status(service.statuses())
                if settings.until_end and service.ended:
                    break
                if time.monotonic() - watched >= settings.jobs.watch_seconds:
                    service.refresh()
                    watched = time.monotonic()
        finally:
            service.close()
            on_status(service.statuses())
        if failure := service.failure():
            raise failure
