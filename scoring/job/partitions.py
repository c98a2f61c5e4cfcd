"""Partition arithmetic: which calendar hour, day, week or month a moment belongs to.

A partition is a half-open stretch of local time ``[start, end)`` in the job's time zone.  All
functions are pure: they take moments and keys, and never ask the clock.

======  ====================  ==========================================================
kind    key                   notes
======  ====================  ==========================================================
month   ``2013-05``
week    ``2013-W05``          ISO 8601 weeks: Monday to Sunday, the year is the ISO year
day     ``2013-05-07``
hour    ``2013-05-07T03-0400``  with the UTC offset, as an hour comes twice when DST ends
======  ====================  ==========================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from scoring.errors import PartitionError

Kind = Literal["month", "week", "day", "hour"]

EXAMPLES: dict[Kind, str] = {
    "month": "2013-05",
    "week": "2013-W05",
    "day": "2013-05-07",
    "hour": "2013-05-07T03-0400",
}
PATTERNS: dict[Kind, str] = {  # of years in which Python's dates cannot overflow
    "month": r"[12]\d{3}-\d{2}",
    "week": r"[12]\d{3}-W\d{2}",
    "day": r"[12]\d{3}-\d{2}-\d{2}",
    "hour": r"[12]\d{3}-\d{2}-\d{2}T\d{2}[+-]\d{4}",
}


@dataclass(frozen=True)
class Partition:
    """One partition of a job: ``kind``, ``key``, and the moments ``start`` <= t < ``end`` it
    covers.

    ``start`` and ``end`` are aware datetimes in the job's time zone.
    """

    kind: Kind
    key: str
    start: datetime
    end: datetime

    @property
    def path(self) -> str:
        """The folder of this partition under a destination, in Hive style: ``month=2013-05``."""
        return f"{self.kind}={self.key}"

    @cached_property
    def uri_fields(self) -> dict[str, str]:
        """The values for ``{year}``, ``{month}``, … in a URI template, zero-padded, in local time.

        For weeks ``{year}`` is the ISO year, so that ``{year}-W{week}`` is always the key.
        """
        iso = self.start.isocalendar()
        year = iso.year if self.kind == "week" else self.start.year
        return {
            "year": f"{year:04d}",
            "month": f"{self.start:%m}",
            "week": f"{iso.week:02d}",
            "day": f"{self.start:%d}",
            "hour": f"{self.start:%H}",
            "partition": self.key,
        }

    @property
    def days(self) -> list[date]:
        """The calendar days, in local time, that the partition has a part of."""
        first, last = self.start.date(), (self.end - timedelta(microseconds=1)).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    def __lt__(self, other: Partition) -> bool:
        # As timestamps: Python compares two moments of one zone by wall clock, wrong when DST ends.
        return self.start.timestamp() < other.start.timestamp()

    @property
    def on_the_clock(self) -> tuple[datetime, datetime]:
        """``start`` and ``end`` without a zone, to compare with clock times that have none.

        A day begins at 00:00 even where DST skips that, as dates do; a clock time that comes twice
        is in both of its hours.
        """
        start, end = self.start.replace(tzinfo=None), self.end.replace(tzinfo=None)
        if self.kind == "hour":
            return start, start + (self.end.astimezone(UTC) - self.start.astimezone(UTC))
        return datetime.combine(start, time()), datetime.combine(end, time())

    def next(self) -> Partition:
        """The partition that begins where this one ends."""
        return partition_at(self.end, self.kind, _zone(self.start))

    def previous(self) -> Partition:
        """The partition that ends where this one begins."""
        just_before = self.start.astimezone(UTC) - timedelta(microseconds=1)
        return partition_at(just_before, self.kind, _zone(self.start))

    def year_before(self) -> Partition | None:
        """The partition at the same time of the year before; None on 29 February."""
        try:
            moment = self.start.replace(year=self.start.year - 1)
        except ValueError:
            return None
        if self.kind == "week":  # the same weekday
            moment = self.start - timedelta(weeks=52)
        return partition_at(moment, self.kind, _zone(self.start))


def partition_at(moment: datetime, kind: Kind, zone: ZoneInfo) -> Partition:
    """The partition of ``kind`` in ``zone`` that the aware ``moment`` lies in.

    For an Airflow run, ``moment`` is its ``data_interval_start``.  Raises PartitionError for a
    naive moment, because a guessed time zone puts rows in the wrong month.
    """
    if moment.tzinfo is None:
        raise PartitionError(
            f"{moment.isoformat()} has no time zone, so its {kind} is not known; "
            f"write one, for example {moment.isoformat()}+00:00"
        )
    local = moment.astimezone(zone)
    if kind == "hour":
        return _hour_at(local, zone)
    first = _first_day(local.date(), kind)
    after = _first_day_after(first, kind)
    if moment.timestamp() >= _midnight(after, zone).timestamp():
        # The clock was set back over midnight, into a day that had ended (St. John's, until 2011).
        first, after = after, _first_day_after(after, kind)
    return Partition(kind, _day_key(first, kind), _midnight(first, zone), _midnight(after, zone))


@lru_cache(maxsize=4096)
def parse_key(key: str, kind: Kind, zone: ZoneInfo) -> Partition:
    """The partition that ``key`` names, or PartitionError that says what a key looks like."""
    wrong = PartitionError(
        f"{key!r} is not a {kind}; a {kind} looks like {EXAMPLES[kind]} for this job"
    )
    if not re.fullmatch(PATTERNS[kind], key):
        raise wrong
    try:
        if kind == "hour":
            # Its first or its last minute: an hour in which the clock is set may lack one of them.
            moments = [datetime.strptime(f"{key} {m}", "%Y-%m-%dT%H%z %M") for m in ("00", "59")]
        elif kind == "week":
            moments = [_midnight(date.fromisocalendar(int(key[:4]), int(key[6:]), 1), zone)]
        else:
            moments = [_midnight(date.fromisoformat(key if kind == "day" else key + "-01"), zone)]
    except ValueError:
        raise wrong from None
    for moment in moments:
        partition = partition_at(moment, kind, zone)
        if partition.key == key:  # not so for an hour with an offset that the zone has not then
            return partition
    raise wrong


def partitions_between(first: Partition, last: Partition) -> Iterator[Partition]:
    """All partitions from ``first`` to ``last``, both included, in order."""
    while not last < first:
        yield first
        first = first.next()


def _zone(moment: datetime) -> ZoneInfo:
    assert isinstance(moment.tzinfo, ZoneInfo)
    return moment.tzinfo


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of ``day``: where DST skips midnight, the first moment that exists."""
    local = datetime.combine(day, time(), zone)
    return local.astimezone(UTC).astimezone(zone)


def _hour_at(local: datetime, zone: ZoneInfo) -> Partition:
    """The hour on the clock; one in which the clock is set (Lord Howe: by half an hour) is cut
    there.
    """
    minute = timedelta(minutes=1)
    into_hour = timedelta(
        minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )
    first = local.astimezone(UTC) - into_hour
    minutes = [first, first + 59 * minute]
    if any(m.astimezone(zone).utcoffset() != local.utcoffset() for m in minutes):
        every = [first + i * minute for i in range(60)]
        minutes = [m for m in every if m.astimezone(zone).utcoffset() == local.utcoffset()]
    start, end = minutes[0].astimezone(zone), (minutes[-1] + minute).astimezone(zone)
    return Partition("hour", f"{start:%Y-%m-%dT%H%z}", start, end)


def _first_day(day: date, kind: Kind) -> date:
    if kind == "month":
        return day.replace(day=1)
    if kind == "week":
        return day - timedelta(days=day.weekday())
    return day


def _first_day_after(first: date, kind: Kind) -> date:
    if kind == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if kind == "week" else 1)


def _day_key(first: date, kind: Kind) -> str:
    if kind == "month":
        return f"{first:%Y-%m}"
    if kind == "week":
        iso = first.isocalendar()
        return f"{iso.year:04d}-W{iso.week:02d}"
    return first.isoformat()
