"""What streams are started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scoring.serving.settings import Settings
from scoring.serving.stream.address import TopicAddress

Format = Literal["json", "arrow", "csv"]
FORMATS: tuple[Format, ...] = ("json", "arrow", "csv")


@dataclass(frozen=True)
class StreamSettings:
    """``jobs`` are scored from ``source``; in the names of the other topics ``{job}`` may stand.

    ``group`` is how the names of all consumer groups begin. ``start`` says where a group begins that
    is new. A batch has up to ``max_batch`` messages, and waits up to ``max_wait_seconds`` for them.
    ``stop_seconds`` is how long unacknowledged results are waited for at the end. ``archive`` is the
    URI under which messages are stored.
    """

    jobs: Settings
    source: TopicAddress
    results: TopicAddress | None
    dead_letters: TopicAddress | None
    source_connection: str | None = None
    results_connection: str | None = None
    format: Format = "json"
    group: str = "scoring"
    start: Literal["earliest", "latest"] = "earliest"
    version: str | None = None
    challengers: bool = True
    max_batch: int = 4096
    max_wait_seconds: float = 0.1
    transactional: bool = False
    until_end: bool = False
    stop_seconds: float = 20.0
    archive: str | None = None
    archive_rows: int = 100_000
    archive_seconds: float = 60.0
