"""The stretch of time in which a partition's source is waited for, as it is handed to and fro."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Waiting:
    """Both moments are aware: nothing begins anew when a triggerer or a worker is started again."""

    since: datetime
    until: datetime

    @classmethod
    def of_event(cls, event: dict[str, Any]) -> Waiting:
        """What ``SourceTrigger`` was given, and gives back with its event."""
        since, until = (datetime.fromisoformat(event[key]) for key in ("since", "until"))
        return cls(since, until)

    def told(self, now: datetime) -> str:
        hours = (now - self.since).total_seconds() / 3600
        return (
            f"it was waited for from {self.since:%Y-%m-%d %H:%M} UTC, {hours:,.1f} hours, which is all "
            "that source.wait allows"
        )
