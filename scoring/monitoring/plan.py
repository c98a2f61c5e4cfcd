"""What would be scored again, and the Airflow commands that do it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from scoring.job.partitions import Partition
from scoring.job.schedule import interval_start
from scoring.job.schema import Job
from scoring.monitoring.coverage import Covered
from scoring.monitoring.stale import ReasonCode

_ANY_ZONE = timedelta(hours=14)
"""A date without a zone is in Airflow's default time zone, which may be any."""


@dataclass(frozen=True)
class Stretch:
    """Partitions that follow each other, from ``first`` to ``last``, both included."""

    first: Partition
    last: Partition

    @property
    def keys(self) -> str:
        return self.first.key if self.first == self.last else f"{self.first.key}..{self.last.key}"


def stretches(partitions: Iterable[Partition]) -> list[Stretch]:
    """Join partitions, which are in order, into as few stretches as possible."""
    found: list[Stretch] = []
    for partition in partitions:
        if found and found[-1].last.next().key == partition.key:
            found[-1] = Stretch(found[-1].first, partition)
        else:
            found.append(Stretch(partition, partition))
    return found


@dataclass(frozen=True)
class Cause:
    """Why some partitions are stale: what is said of them, each with the partitions it is said of."""

    code: ReasonCode
    partitions: tuple[Stretch, ...]
    details: tuple[tuple[str, tuple[Stretch, ...]], ...]

    @property
    def keys(self) -> str:
        """The keys of all partitions, as commands take them."""
        return " ".join(one.keys for one in self.partitions)


def causes(covered: Iterable[Covered]) -> list[Cause]:
    """Return why partitions, which are in order, are stale, by the code of the reason."""
    found: dict[ReasonCode, dict[str, list[Partition]]] = {}
    for one in covered:
        if one.state == "stale":
            for reason in one.reasons:
                found.setdefault(reason.code, {}).setdefault(reason.detail, []).append(
                    one.partition
                )
    return [
        Cause(
            code,
            tuple(stretches(sorted({p for of in details.values() for p in of}))),
            tuple((detail, tuple(stretches(of))) for detail, of in details.items()),
        )
        for code, details in found.items()
    ]


def backfill_command(job: Job, stretch: Stretch) -> str:
    """Return the command that scores ``stretch`` again in Airflow, and nothing else.

    The empty conf removes a model version that an earlier run pinned: the policy decides.
    """
    first, last = _dates(job, stretch)
    words = [
        *("airflow", "backfill", "create", "--dag-id", job.name),
        *("--from-date", first, "--to-date", last),
        *("--reprocess-behavior", "completed", "--dag-run-conf", "{}"),
    ]
    return shlex.join(words)


def _dates(job: Job, stretch: Stretch) -> tuple[str, str]:
    """Return the range of logical dates, both included, of the runs that score ``stretch``.

    Calendar days, if they select these runs in any time zone, else moments.
    """
    first, last = stretch.first.start.date(), stretch.last.days[-1]
    earliest, latest = _midnight(first) + _ANY_ZONE, _midnight(last) - _ANY_ZONE
    begins = interval_start(job.schedule, stretch.first).astimezone(UTC)
    ends = interval_start(job.schedule, stretch.last).astimezone(UTC)
    others = [
        interval_start(job.schedule, stretch.first.previous()).astimezone(UTC)
        < earliest - 2 * _ANY_ZONE,
        interval_start(job.schedule, stretch.last.next()).astimezone(UTC) > latest + 2 * _ANY_ZONE,
    ]
    if earliest <= begins and ends <= latest and all(others):
        return first.isoformat(), last.isoformat()
    end = stretch.last.end.astimezone(UTC) - timedelta(seconds=1)
    return stretch.first.start.astimezone(UTC).isoformat(), end.isoformat()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
