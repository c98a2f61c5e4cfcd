from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.job.partitions import EXAMPLES, Kind, parse_key, partition_at
from scoring.job.schedule import check_cron, schedule_mismatch


def misfit_of(cron: str, kind: Kind, first: str | None = None, zone: str = "UTC") -> str | None:
    first_partition = (
        parse_key(first, kind, ZoneInfo(zone))
        if first
        else partition_at(datetime(2013, 2, 14, 10, tzinfo=UTC), kind, ZoneInfo(zone))
    )
    return schedule_mismatch(cron, first_partition, ZoneInfo(zone))


@pytest.mark.parametrize("cron", ["0 3 2 * *", "*/15 * * * *", "0 3 L * *", "0 3 * * MON#1"])
def test_cron_expressions_of_five_fields_are_taken(cron: str):
    check_cron(cron)


@pytest.mark.parametrize(
    "cron",
    ["@monthly", "monthly", "", "0 3 2 *", "0 0 3 2 * *", "0 25 2 * *", "0 3 32 * *", "a b c d e"],
)
def test_anything_else_is_refused_with_an_example(cron: str):
    with pytest.raises(ValueError, match=r"not a cron expression .* '0 3 2 \* \*'") as error:
        check_cron(cron)
    assert repr(cron) in str(error.value)


@pytest.mark.parametrize("cron", ["R R 2 * *", "r 3 2 * *", "0 R(1-5) 2 * *"])
def test_random_fields_are_refused_as_each_look_gives_other_dates(cron: str):
    with pytest.raises(ValueError, match="has a random field"):
        check_cron(cron)


@given(st.text("0123456789*/,-?#LHRWMON ", max_size=20))
def test_no_text_breaks_the_check(cron: str):
    with contextlib.suppress(ValueError):  # any other error fails
        check_cron(cron)


@pytest.mark.parametrize(
    ("cron", "kind"),
    [
        ("0 3 2 * *", "month"),
        ("0 0 1 * *", "month"),
        ("0 3 28 * *", "month"),
        ("0 3 L * *", "month"),
        ("0 3 * * MON#1", "month"),
        ("0 3 * * 2", "week"),
        ("0 0 * * 0", "week"),
        ("0 3 * * *", "day"),
        ("30 23 * * *", "day"),
        ("15 * * * *", "hour"),
    ],
)
def test_one_run_for_each_partition_fits(cron: str, kind: Kind):
    assert misfit_of(cron, kind) is None


@pytest.mark.parametrize(
    ("cron", "kind", "why"),
    [
        ("0 3 * * *", "month", "more than one run for 2013-02"),
        ("0 3 2,16 * *", "month", "more than one run for 2013-02"),
        ("0 3 30 * *", "month", "no run for 2013-02"),
        ("0 3 * * MON#5", "month", "no run for 2013-02"),
        ("0 3 2 1-11 *", "month", "no run for some months"),
        ("0 3 2 */3 *", "month", "no run for some months"),
        ("0 3 2 * *", "week", "no run for some weeks"),
        ("0 3 * * 1-5", "week", "more than one run for 2013-W07"),
        ("0 3 * 1-11 2", "week", "no run for some weeks"),
        ("0 * * * *", "day", "more than one run for 2013-02-14"),
        ("0 3 * * 1-5", "day", "no run for some days"),
        ("0 3 1-28 * *", "day", "no run for some days"),
        ("0 3 * 1-11 *", "day", "no run for some days"),
        ("*/30 * * * *", "hour", "more than one run for 2013-02-14T10+0000"),
        ("15 0-21 * * *", "hour", "no run for some hours"),
        ("15 * 1-30 * *", "hour", "no run for some hours"),
        ("15 * * 1-11 *", "hour", "no run for some hours"),
        ("15 * * * 1-6", "hour", "no run for some hours"),
    ],
)
def test_a_schedule_that_does_not_fit_is_reported_with_one_that_does(
    cron: str, kind: Kind, why: str
):
    message = misfit_of(cron, kind)
    assert message is not None
    assert message.startswith(f"{cron!r} does not fit {kind} partitions: there would be {why}")
    fitting = message.split("'")[-2]
    assert misfit_of(fitting, kind) is None


def test_a_schedule_without_any_run_does_not_fit():
    message = misfit_of("0 3 5 * mon#2", "month")
    assert message is not None
    assert "no run for 2013-02" in message


def test_the_29th_does_not_fit_even_when_the_first_february_is_of_a_leap_year():
    message = misfit_of("0 3 29 * *", "month", "2023-03")
    assert message is not None
    assert "no run for 2025-02" in message


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("kind", "cron", "first"),
    [
        ("hour", "15 * * * *", "2013-03-09T20"),  # the day before DST begins in New York
        ("day", "30 2 * * *", "2013-03-08"),  # a time that DST skips there
        ("day", "30 1 * * *", "2013-10-30"),  # a time that comes twice there
        ("week", "0 0 * * 1", "2013-W09"),
        ("month", "0 0 1 * *", "2013-01"),
    ],
)
def test_daylight_saving_does_not_make_a_schedule_unfit(
    zone: str, kind: Kind, cron: str, first: str
):
    if kind == "hour":
        moment = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone))
        first = partition_at(moment, kind, ZoneInfo(zone)).key
    assert misfit_of(cron, kind, first, zone) is None


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_first_partition_needs_its_run_too(kind: Kind):
    crons = {"month": "0 3 2 * *", "week": "0 3 * * 2", "day": "0 3 * * *", "hour": "15 * * * *"}
    zone = "America/New_York"
    assert misfit_of(crons[kind], kind, EXAMPLES[kind], zone) is None
