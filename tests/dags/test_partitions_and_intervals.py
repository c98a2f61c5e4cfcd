"""Every partition of a job has exactly one run: asked of the Dag's own timetable, over years.

The keys that are expected come from the calendar of the standard library, not from ``scoring``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from airflow.serialization.encoders import coerce_to_core_timetable
from airflow.timetables.base import DataInterval, TimeRestriction
from scoring_airflow import job_dag

from scoring.job.loader import load_job
from scoring.job.partitions import partition_at
from tests import small_job

ZONES = [
    "UTC",
    "America/New_York",  # the clock changes at 2
    "Europe/London",
    "Europe/Berlin",
    "Asia/Kolkata",  # half an hour off
    "Australia/Lord_Howe",  # its clock changes by half an hour
    "America/Sao_Paulo",  # the clock changed at midnight, until 2019
    "Africa/Cairo",  # the clock changes at midnight, since 2023
    "Pacific/Auckland",
    "Pacific/Kiritimati",  # the furthest east
    "Pacific/Pago_Pago",  # the furthest west
    "Pacific/Apia",  # had no 30 December 2011
]


def _days(first: str, last: str) -> Iterator[date]:
    day = date.fromisoformat(first)
    while day <= date.fromisoformat(last):
        yield day
        day += timedelta(days=1)


def _months(first: str, last: str, zone: str) -> list[str]:
    return list(dict.fromkeys(f"{day:%Y-%m}" for day in _days(f"{first}-01", f"{last}-28")))


def _weeks(first: str, last: str, zone: str) -> list[str]:
    year, week = map(int, last.split("-W"))
    sunday = date.fromisocalendar(year, week, 7).isoformat()
    year, week = map(int, first.split("-W"))
    days = _days(date.fromisocalendar(year, week, 1).isoformat(), sunday)
    return list(dict.fromkeys(f"{day:%G-W%V}" for day in days))


def _existing_days(first: str, last: str, zone: str) -> list[str]:
    missing = {"2011-12-30"} if zone == "Pacific/Apia" else set()
    return [day.isoformat() for day in _days(first, last) if day.isoformat() not in missing]


def _hours(first: str, last: str, zone: str) -> list[str]:
    """Every hour that a clock in ``zone`` shows, with its offset: two when an hour comes twice."""
    moment, end = (datetime.strptime(key, "%Y-%m-%dT%H%z").astimezone(UTC) for key in (first, last))
    keys = []
    while moment <= end:
        keys.append(f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H%z}")
        moment += timedelta(minutes=15)
    return list(dict.fromkeys(keys))


CASES = [
    *[("month", "0 3 2 * *", "2008-01", "2028-12", zone, _months) for zone in ZONES],
    *[("month", "0 0 1 * *", "2011-11", "2020-02", zone, _months) for zone in ZONES],
    *[("week", "0 3 * * 2", "2009-W50", "2011-W02", zone, _weeks) for zone in ZONES],
    *[("week", "0 0 * * 1", "2009-W50", "2011-W02", zone, _weeks) for zone in ZONES],
    *[("day", "0 3 * * *", "2011-12-01", "2012-04-10", zone, _existing_days) for zone in ZONES],
    *[("day", "30 2 * * *", "2024-02-20", "2024-11-10", zone, _existing_days) for zone in ZONES],
    *[("day", "0 0 * * *", "2018-10-25", "2019-03-20", zone, _existing_days) for zone in ZONES],
    # Not for Lord Howe: Airflow's timetable itself ends where a clock changes by half an hour.
    ("hour", "15 * * * *", "2013-03-08T00-0500", "2013-03-12T23-0400", "America/New_York", _hours),
    ("hour", "15 * * * *", "2013-11-01T00-0400", "2013-11-05T23-0500", "America/New_York", _hours),
    ("hour", "0 * * * *", "2013-12-30T00+0100", "2014-01-02T23+0100", "Europe/Berlin", _hours),
    ("hour", "0 * * * *", "2013-10-26T00+0200", "2013-10-28T23+0100", "Europe/Berlin", _hours),
    ("hour", "59 * * * *", "2012-02-28T00+0000", "2012-03-01T23+0000", "UTC", _hours),
    ("hour", "15 * * * *", "2013-05-01T00+0530", "2013-05-02T23+0530", "Asia/Kolkata", _hours),
    ("hour", "15 * * * *", "2018-02-17T00-0200", "2018-02-18T23-0300", "America/Sao_Paulo", _hours),
    ("hour", "15 * * * *", "2024-04-05T00+1300", "2024-04-08T23+1200", "Pacific/Auckland", _hours),
]  # fmt: skip


def _intervals(job: Path) -> list[DataInterval]:
    """The data intervals of all runs that Airflow's catchup makes of the job's Dag."""
    dag = job_dag(load_job(job))
    timetable = coerce_to_core_timetable(dag.timetable)
    wanted = TimeRestriction(dag.start_date, dag.end_date, catchup=True)
    intervals: list[DataInterval] = []
    while info := timetable.next_dagrun_info(
        last_automated_data_interval=intervals[-1] if intervals else None, restriction=wanted
    ):
        assert info.run_after == info.data_interval.end
        assert info.logical_date == info.data_interval.start
        intervals.append(info.data_interval)
    return intervals


@pytest.mark.parametrize(
    ("kind", "cron", "first", "last", "zone", "expected"),
    CASES,
    ids=lambda value: None if callable(value) else str(value),
)
def test_every_partition_has_one_run(
    kind: str, cron: str, first: str, last: str, zone: str, expected, tmp_path: Path
) -> None:
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": first}
    job = small_job.write_job(
        tmp_path,
        schedule=cron,
        timezone=zone,
        partition=kind,
        start=first,
        end=last,
        model={"versions": [version]},
    )
    intervals = _intervals(job)
    partitions = [partition_at(i.start, kind, ZoneInfo(zone)) for i in intervals]
    assert [partition.key for partition in partitions] == expected(first, last, zone)
    for before, after in pairwise(intervals):
        assert before.end == after.start
    for before, after in pairwise(partitions):
        assert before.end.timestamp() == after.start.timestamp()
    assert (partitions[0].key, partitions[-1].key) == (first, last)
