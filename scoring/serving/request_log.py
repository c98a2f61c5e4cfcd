"""A log of requests and their answers, as hourly parquet files that a batch job can read.

::

    URI/JOB/year=2013/month=05/day=07/hour=03/PROCESS-NUMBER.parquet

A file has the columns of the rows in the job's types, the answer (``status``, ``reason``,
``column``, ``value``, the outputs as ``answered_…``, ``model_version``) and ``received_at``.  The
hour is UTC's.  Rows are written every few seconds, so what a process that is killed did not write
is lost: the log is for looking back, not for accounts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.arrow.columns import combined_column
from scoring.arrow.text import decoded
from scoring.errors import ScoringError
from scoring.serving.bodies import Rows
from scoring.serving.connections import connections_of
from scoring.serving.scorer import Answers, RequestScorer, outputs_of
from scoring.serving.settings import Settings
from scoring.storage.base import pending

log = logging.getLogger(__name__)

_MAX_ROWS = 500_000
"""How many rows wait to be written, at most; further ones are counted as lost."""

Key = tuple[str, datetime]


class RequestLog:
    """Collects requests and answers, and writes them from time to time."""

    def __init__(self, settings: Settings) -> None:
        assert settings.log is not None
        self._uri = settings.log.rstrip("/")
        self._settings = settings
        self._waiting: defaultdict[Key, list[tuple[RequestScorer, pa.Table]]] = defaultdict(list)
        self._rows = 0
        self._lost = 0
        self._lock = threading.Lock()
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._number = 0

    def add(self, scorer: RequestScorer, rows: Rows, answers: Answers) -> None:
        """Take the rows of a request and what became of them."""
        moment = self._settings.clock().astimezone(UTC)
        table = _logged(scorer, rows, answers, moment)
        hour = moment.replace(minute=0, second=0, microsecond=0)
        with self._lock:
            if self._rows + table.num_rows > _MAX_ROWS:
                self._lost += table.num_rows
                return
            self._waiting[scorer.job.name, hour].append((scorer, table))
            self._rows += table.num_rows

    async def run(self) -> None:
        """Write what was collected, every ``log_seconds``."""
        while True:
            await asyncio.sleep(self._settings.log_seconds)
            await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """Write what was collected; what cannot be written waits for the next time."""
        with self._lock:
            waiting, self._waiting = self._waiting, defaultdict(list)
            lost, self._lost = self._lost, 0
        if lost:
            log.error("the log of requests lost %s rows, which came faster than it writes", lost)
        for key, tables in waiting.items():
            try:
                self._write(key, tables)
            except (ScoringError, OSError, pa.ArrowException) as error:
                log.error("requests of %s cannot be logged: %s", key[0], error)
                with self._lock:
                    self._waiting[key][:0] = tables
            else:
                with self._lock:
                    self._rows -= sum(table.num_rows for _, table in tables)

    def _write(self, key: Key, tables: list[tuple[RequestScorer, pa.Table]]) -> None:
        name, hour = key
        folder = f"{self._uri}/{name}/{hour:year=%Y/month=%m/day=%d/hour=%H}"
        storage = connections_of(tables[0][0].job).storage(folder)
        by_schema: defaultdict[pa.Schema, list[pa.Table]] = defaultdict(list)
        for _, table in tables:
            by_schema[table.schema].append(table)
        for found in by_schema.values():
            self._number += 1
            uri = f"{folder}/{self._process}-{self._number}.parquet"
            with pending(storage, uri) as new:
                pq.write_table(pa.concat_tables(found), new, compression="zstd")
                new.commit()


def _logged(scorer: RequestScorer, rows: Rows, answers: Answers, moment: datetime) -> pa.Table:
    """Return the rows of a request with what became of them."""
    columns: dict[str, Any] = {}
    for name in scorer.columns.names:
        columns[name] = decoded(combined_column(rows.table, name))
    outputs = answers.outputs(outputs_of(scorer.job))
    columns |= {f"answered_{name}": values for name, values in outputs.items()}
    columns |= {"status": answers.statuses(), **answers.reasons()}
    columns["model_version"] = pa.array([scorer.file.version] * answers.count, pa.string())
    columns["received_at"] = pa.array([moment] * answers.count, pa.timestamp("us", "UTC"))
    return pa.table(columns)
