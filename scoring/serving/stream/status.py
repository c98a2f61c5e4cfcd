"""What a stream does just now, for the terminal and for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from scoring.pipeline.checked_rows import LEFT_OUT, QUARANTINED, SCORED

UNREADABLE, FAILED, TOO_LARGE = "unreadable", "scoring_failed", "result_too_large"
"""Why a message gets no prediction, besides what a row can break: it cannot be read as a row, the
model fails for it, its result is larger than the brokers take."""

OUTCOMES = (SCORED, QUARANTINED, LEFT_OUT, UNREADABLE, FAILED, TOO_LARGE)
DEAD = (QUARANTINED, UNREADABLE, FAILED, TOO_LARGE)
"""What goes to the dead-letter topic."""


@dataclass
class StreamStatus:
    """One consumer group; each count is of messages whose results are acknowledged
    (``of_versions``: by version and outcome).

    ``lag`` is how many messages of each partition that this process reads are still to be scored.
    ``lost`` are messages that the brokers deleted before they were read. ``problem`` is what keeps
    it from going on, ``job_problem`` what keeps it from using the newest job file, and ``waiting``
    what brokers or storages do not do in time.
    """

    job: str
    group: str
    version: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    of_versions: Counter[tuple[str, str]] = field(default_factory=Counter)
    lag: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    retries: int = 0
    running: bool = False
    problem: str | None = None
    job_problem: str | None = None
    waiting: str | None = None

    def count(self, version: str, outcomes: Mapping[str, int]) -> None:
        """Count messages by what has become of them, as ``version`` has scored them."""
        for outcome, number in outcomes.items():
            self.counts[outcome] += number
            self.of_versions[version, outcome] += number

    @property
    def total(self) -> int:
        """How many messages have been dealt with."""
        return sum(self.counts.values())

    @property
    def dead(self) -> int:
        return sum(self.counts[outcome] for outcome in DEAD)

    @property
    def trouble(self) -> str | None:
        """What somebody should look at."""
        return self.problem or self.waiting or self.job_problem

    @property
    def total_lag(self) -> int:
        return sum(self.lag.values())

    def to_json(self) -> dict[str, object]:
        """Return the same facts as JSON has them."""
        return {
            "job": self.job,
            "group": self.group,
            "version": self.version,
            "messages": {outcome: self.counts[outcome] for outcome in OUTCOMES},
            "lag": {str(partition): lag for partition, lag in sorted(self.lag.items())},
            "lost": self.lost,
            "running": self.running,
            "problem": self.trouble,
        }
