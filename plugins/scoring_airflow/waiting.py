"""How long a partition's source is waited for, as operator and trigger hand it to each other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Waiting:
    """Both moments are aware: a restarted triggerer or worker does not start the wait over."""

    since: datetime
    until: datetime

    @classmethod
    def of_event(cls, event: dict[str, Any]) -> Waiting:
        """Return what ``SourceTrigger`` was given, and gives back with its event."""
        since, until = (datetime.fromisoformat(event[key]) for key in ("since", "until"))
        return cls(since, until)

    def summary(self, now: datetime) -> str:
        hours = (now - self.since).total_seconds() / 3600
        return f"timed out after {hours:,.1f} h (source.wait.timeout_hours)"
