"""What a service is started with; handed to each of its processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """``paths`` are the job files; without any, all of ``folder`` are served, also those that are
    added later.

    ``clock`` says which moment it is, for the model version that is in force.  ``tokens`` are
    digests of the bearer tokens; None means that no token is asked for.  ``max_queue`` is how many
    rows may wait for their turn.  ``log`` is the URI under which requests and answers are stored.
    """

    paths: tuple[Path, ...]
    folder: Path
    clock: Callable[[], datetime]
    data: str | None = None
    tokens: frozenset[str] | None = None
    max_batch: int = 4096
    max_wait_ms: float = 2.0
    max_rows: int = 10_000
    max_body_bytes: int = 16 << 20
    max_queue: int = 50_000
    timeout_seconds: float = 30.0
    watch_seconds: float = 5.0
    log: str | None = None
    log_seconds: float = 60.0
