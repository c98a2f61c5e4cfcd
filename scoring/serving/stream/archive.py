"""Messages as hourly parquet files, which a batch job can read: a consumer group of its own.

::

    URI/JOB/year=2013/month=05/day=07/hour=03/PARTITION-OFFSET.parquet

A file has the columns of the rows in the job's types, ``source_topic``, ``source_partition``,
``source_offset`` and ``sent_at``, the moment of the message. The hour is UTC's, and that of the message,
so that a message that is read again is stored in the same place. A file is named after the first of
its messages (those of other types are in another file), and the offset is committed when it is
stored: a process that is killed stores the same file again, and each message that can be read is in
one file.

A message that cannot be read as a row, or has a value of another type than its column's, is in no
file; the job's consumer group sends it to the dead letters.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.arrow.columns import combined_column
from scoring.arrow.text import decoded as decoded_text
from scoring.errors import JobError, ScoringError
from scoring.pipeline.checked_rows import SCORED
from scoring.serving.bodies import Rows
from scoring.serving.connections import connections_of
from scoring.serving.scorer import RequestScorer
from scoring.serving.stream.client import source_client
from scoring.serving.stream.received import Received, offsets_after
from scoring.serving.stream.settings import StreamSettings
from scoring.serving.stream.status import UNREADABLE, StreamStatus
from scoring.serving.stream.topic_reader import TopicReader
from scoring.serving.stream.values import Part, decoded
from scoring.storage.base import pending

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 2.0
_LAST_HOUR = int(datetime(9999, 12, 31, 23, tzinfo=UTC).timestamp()) // 3600
"""Moments are what producers say: what is before 1970 is filed there, and what is later is here."""
COLUMNS = ("source_topic", "source_partition", "source_offset", "sent_at")
"""What a file has besides the columns of the job."""


class Archive:
    """Stores the messages of a job's topic under ``settings.archive``, until ``stop`` is set.

    ``scorer`` says which columns the job reads.
    """

    def __init__(
        self,
        settings: StreamSettings,
        status: StreamStatus,
        scorer: Callable[[], RequestScorer],
        stop: threading.Event,
    ) -> None:
        assert settings.archive is not None
        self._uri = settings.archive.rstrip("/")
        self._settings = settings
        self._status = status
        self._scorer = scorer
        self._stop = stop
        self._waiting: list[Received] = []
        self._since = time.monotonic()
        self._reader = TopicReader(
            source_client(settings),
            settings.source.topic,
            status.group,
            settings.start,
            status,
            self._give_back,
        )

    def run(self) -> None:
        """Store until it is to stop, or, with ``until_end``, until all messages are stored."""
        self._status.running = True
        try:
            while not self._stop.is_set():
                room = min(self._settings.max_batch, self._room)
                if not self._waiting:
                    self._since = time.monotonic()
                # Not in one statement: while it reads, partitions may be given back.
                new = self._reader.read(room, self._settings.max_wait_seconds)
                self._waiting += new
                ended = self._settings.until_end and self._reader.at_end
                if self._is_due() or ended:
                    self._store()
                if ended and not self._waiting:
                    break
            self._store()
        finally:
            self._status.running = False
            self._reader.close()

    @property
    def _room(self) -> int:
        return max(1, self._settings.archive_rows - len(self._waiting))

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._since
        full = len(self._waiting) >= self._settings.archive_rows
        return full or (bool(self._waiting) and waited >= self._settings.archive_seconds)

    def _give_back(self, partitions: set[int]) -> None:
        if partitions & self._reader.owned:
            self._store(once=True)
        self._waiting = [m for m in self._waiting if m.partition not in partitions]

    def _store(self, once: bool = False) -> None:
        """Write what waits and commit it; what cannot be written waits, unless ``once``."""
        while self._waiting:
            try:
                counts = self._write(self._waiting)
            except (ScoringError, OSError, pa.ArrowException) as error:
                text = f"{len(self._waiting):,} messages wait for the archive: {error}"
                if self._status.waiting is None:
                    log.error("%s: %s", self._status.group, text)
                self._status.waiting = text
                self._status.retries += 1
                if once or self._stop.is_set():
                    return
                until = time.monotonic() + _PAUSE_SECONDS
                while time.monotonic() < until and not self._stop.is_set():
                    self._reader.keep_alive(0.1)
                continue
            offsets = offsets_after(self._waiting)
            self._reader.commit(offsets)
            self._reader.handled(offsets)
            self._status.count("", counts)
            self._status.waiting = None
            self._waiting = []

    def _write(self, messages: list[Received]) -> dict[str, int]:
        """Write the files of ``messages``; return how many became rows, and how many did not."""
        scorer, files = self._scorer(), defaultdict(list)
        found = decoded(messages, scorer.columns, scorer.job, self._settings.format)
        rows = 0
        for part in found.parts:
            table = _archived(part.rows, part, messages, scorer)
            rows += table.num_rows
            for key, some in _by_partition_and_hour(table):
                files[key].append(some)
        storage = connections_of(scorer.job).storage(self._uri)
        for (partition, hour), tables in files.items():
            folder = f"{self._uri}/{scorer.job.name}/{hour:year=%Y/month=%m/day=%d/hour=%H}"
            for table in _of_each_schema(tables):
                first = min(table.column("source_offset").to_pylist())
                name = f"{partition}-{first}.parquet"
                with pending(storage, f"{folder}/{name}") as new:
                    pq.write_table(table, new, compression="zstd")
                    new.commit()
        return {SCORED: rows, UNREADABLE: len(messages) - rows}


def check_columns(scorer: RequestScorer) -> None:
    """Raise JobError for a job that reads a column of a name that the archive has itself."""
    taken = [name for name in scorer.columns.names if name in COLUMNS]
    if taken:
        raise JobError(
            f"{scorer.job.name} reads a column {taken[0]!r}, which each file of an archive has itself "
            f"({', '.join(COLUMNS)}), so it cannot be archived; give the column another name"
        )


def _archived(rows: Rows, part: Part, messages: list[Received], scorer: RequestScorer) -> pa.Table:
    """Return the rows whose values have their columns' types, with the places of their messages."""
    sources = [messages[place] for place in part.places]
    columns = {
        name: decoded_text(combined_column(rows.table, name)) for name in scorer.columns.names
    }
    moments = [message.sent_ms for message in sources]
    columns |= {
        "source_topic": pa.array([message.topic for message in sources], pa.string()),
        "source_partition": pa.array([message.partition for message in sources], pa.int32()),
        "source_offset": pa.array([message.offset for message in sources], pa.int64()),
        "sent_at": pa.array(moments, pa.int64()).cast(pa.timestamp("ms", "UTC")),
    }
    table = pa.table(columns)
    if not rows.unread:
        return table
    read = ~np.logical_or.reduce(list(rows.unread.values()))
    return table.filter(pa.array(read))


def _by_partition_and_hour(
    table: pa.Table,
) -> list[tuple[tuple[int, datetime], pa.Table]]:
    """Return the rows of each partition and hour, in their order."""
    hours = table.column("sent_at").cast(pa.int64()).to_numpy() // 3_600_000
    hours = np.clip(hours, 0, _LAST_HOUR)
    partitions = table.column("source_partition").to_numpy()
    found = []
    for partition, hour in sorted(set(zip(partitions.tolist(), hours.tolist(), strict=True))):
        some = table.filter(pa.array((partitions == partition) & (hours == hour)))
        found.append(((partition, datetime.fromtimestamp(hour * 3600, UTC)), some))
    return found


def _of_each_schema(tables: list[pa.Table]) -> list[pa.Table]:
    """Return the rows of ``tables``, put together where they have the same types."""
    found: defaultdict[pa.Schema, list[pa.Table]] = defaultdict(list)
    for table in tables:
        found[table.schema].append(table)
    return [pa.concat_tables(some) for some in found.values()]
