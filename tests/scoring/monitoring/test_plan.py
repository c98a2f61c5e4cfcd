"""Partitions that follow each other are one backfill, and its dates select these alone."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from scoring.monitoring.coverage import Covered, State
from scoring.monitoring.plan import Stretch, backfill_command, causes, stretches
from scoring.monitoring.stale import Reason
from tests.scoring.factories import JOB, Place


def job(place: Place, **changes: Any) -> Any:
    start = changes.get("start", "2013-02")
    versions = [JOB["model"]["versions"][0] | {"in_force_from": start}]
    return place.job(model={"versions": versions}, **changes).job


def test_partitions_that_follow_each_other_are_joined(place: Place):
    sample = job(place)
    keys = ["2013-02", "2013-03", "2013-11", "2013-12", "2014-01", "2014-03"]
    found = stretches(sample.parse(key) for key in keys)
    assert [of.keys for of in found] == ["2013-02..2013-03", "2013-11..2014-01", "2014-03"]
    assert stretches([]) == []


def dates(place: Place, first: str, last: str, **changes: Any) -> tuple[str, str]:
    sample = job(place, **changes)
    words = shlex.split(backfill_command(sample, Stretch(sample.parse(first), sample.parse(last))))
    assert words[:5] == ["airflow", "backfill", "create", "--dag-id", "sample"]
    return words[6], words[8]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Auckland"])
def test_months_and_weeks_are_calendar_days(place: Place, zone: str):
    assert dates(place, "2013-02", "2013-12", timezone=zone) == ("2013-02-01", "2013-12-31")
    week = {"partition": "week", "schedule": "0 12 * * 2", "start": "2013-W05", "timezone": zone}
    assert dates(place, "2013-W05", "2013-W06", **week) == ("2013-01-28", "2013-02-10")


def test_moments_where_days_would_select_other_runs(place: Place):
    at_the_end = {"schedule": "0 20 28 * *"}
    assert dates(place, "2013-02", "2013-02", **at_the_end) == (
        "2013-02-01T00:00:00+00:00",
        "2013-02-28T23:59:59+00:00",
    )
    day = {"partition": "day", "schedule": "0 3 * * *", "start": "2013-02-01"}
    assert dates(place, "2013-03-10", "2013-03-10", timezone="America/New_York", **day) == (
        "2013-03-10T05:00:00+00:00",
        "2013-03-11T03:59:59+00:00",
    )


def test_what_is_stale_is_grouped_by_its_reason(place: Place):
    sample = job(place)

    def covered(key: str, state: State, *reasons: Reason) -> Covered:
        return Covered(sample.parse(key), state, "v1", reasons)

    model, other = Reason("model", "v2 is in force"), Reason("model", "another file")
    source = Reason("source", "changed")
    found = causes(
        [
            covered("2013-02", "stale", model),
            covered("2013-03", "stale", model, source),
            covered("2013-04", "published"),
            covered("2013-05", "stale", other),
            covered("2013-06", "missing", Reason("taken", "another job's")),
        ]
    )
    assert [(cause.code, cause.keys) for cause in found] == [
        ("model", "2013-02..2013-03 2013-05"),
        ("source", "2013-03"),
    ]
    assert [(detail, [s.keys for s in of]) for detail, of in found[0].details] == [
        ("v2 is in force", ["2013-02..2013-03"]),
        ("another file", ["2013-05"]),
    ]
