"""The cron schedule of a job, and whether it fits the partitions.

A run scores the partition that its data interval begins in.  So a schedule fits only when every
partition has exactly one interval that begins in it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

from scoring.job.partitions import Kind, Partition, partition_at

FIRES_TO_CHECK = 26
"""Enough to see two Februaries, one of which has 28 days."""

_COARSER: dict[Kind, dict[str, int]] = {
    "month": {"month": 3},
    "week": {"day of month": 2, "month": 3},
    "day": {"day of month": 2, "month": 3, "day of week": 4},
    "hour": {"hour": 1, "day of month": 2, "month": 3, "day of week": 4},
}
"""The fields of a cron expression that must be ``*``, or some partitions are left out."""

FITTING: dict[Kind, str] = {
    "month": "0 3 2 * *",
    "week": "0 3 * * 2",
    "day": "0 3 * * *",
    "hour": "15 * * * *",
}


def check_zone(name: str) -> str:
    """Return ``name``; raise ValueError if it is not a time zone."""
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder of zones, no zone's name, no such zone
        raise ValueError(
            f"{name!r} is not an IANA time zone such as UTC or America/New_York"
        ) from None
    return name


def check_cron(cron: str) -> str:
    """Return ``cron``; raise ValueError unless croniter, which Airflow uses, parses its five
    fields.
    """
    message = f"{cron!r} is not a cron expression of five fields, such as '0 3 2 * *'"
    if len(cron.split()) != 5:
        raise ValueError(message)
    try:
        croniter(cron)
    except (CroniterError, ValueError) as error:
        raise ValueError(f"{message}: {error}") from None
    if re.search(r"(?<![a-z])r(?![a-z])", cron, re.IGNORECASE):
        raise ValueError(f"{cron!r} has a random field, R, which would change the dates of runs")
    return cron


@lru_cache  # a third of the time to load a job file; the jobs of a folder mostly share a schedule
def schedule_mismatch(cron: str, first: Partition, zone: ZoneInfo) -> str | None:
    """Return why ``cron`` does not give every partition from ``first`` on one run, or None."""
    what = _left_out(cron, first.kind) or _first_mismatch(cron, first, zone)
    if what is None:
        return None
    return (
        f"{cron!r} does not fit {first.kind} partitions: there would be {what}; "
        f"{FITTING[first.kind]!r} fits"
    )


def interval_start(cron: str, partition: Partition) -> datetime:
    """Return when the data interval of the run that scores ``partition`` begins: the first time in
    it at which ``cron`` fires.
    """
    begin = partition.start.replace(tzinfo=None)
    fire = croniter(cron, begin - timedelta(seconds=1), ret_type=datetime).get_next()
    return _moment(fire, begin, partition)


def due_at(cron: str, partition: Partition) -> datetime:
    """Return when the run that scores ``partition`` is due: at the end of its data interval."""
    return interval_start(cron, partition.next())


def _left_out(cron: str, kind: Kind) -> str | None:
    fields = croniter(cron).expanded
    for name, at in _COARSER[kind].items():
        if fields[at] != ["*"]:
            return f"no run for some {kind}s, because the field {name} is not *"
    return None


def _first_mismatch(cron: str, first: Partition, zone: ZoneInfo) -> str | None:
    begin = first.start.replace(tzinfo=None)
    fires = croniter(cron, begin - timedelta(seconds=1), ret_type=datetime)
    expected, seen = first, None
    for _ in range(FIRES_TO_CHECK):
        try:
            fire = fires.get_next()
        except CroniterError:  # there is none, as for the 2nd Monday if it is the 5th
            return f"no run for {expected.key}"
        actual = partition_at(_moment(fire, begin, first), first.kind, zone)
        if actual.key == seen:
            return f"more than one run for {seen}"
        if actual.key != expected.key:
            return f"no run for {expected.key}"
        seen, expected = actual.key, expected.next()
    return None


def _moment(fire: datetime, begin: datetime, first: Partition) -> datetime:
    """Return the instant of a local ``fire`` time; hours are counted, because DST repeats some."""
    if first.kind == "hour":
        return first.start.astimezone(UTC) + (fire - begin)
    return fire.replace(tzinfo=first.start.tzinfo)
