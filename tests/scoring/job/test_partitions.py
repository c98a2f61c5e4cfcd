from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scoring.errors import PartitionError
from scoring.job.partitions import Kind, parse_key, partition_at, partitions_between

NEW_YORK = ZoneInfo("America/New_York")
KINDS: tuple[Kind, ...] = get_args(Kind)
ZONES = [
    "UTC",
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",  # DST began at midnight: that day had no 00:00
    "America/Havana",  # DST ends at 01:00: midnight comes twice
    "America/St_Johns",  # DST ended at 00:01: the new day began, and then the old one came back
    "Asia/Kolkata",  # +05:30
    "Asia/Kathmandu",  # +05:45
    "Asia/Tokyo",
    "Australia/Lord_Howe",  # DST is half an hour
    "Europe/Berlin",
    "Pacific/Apia",  # 2011-12-30 was left out
    "Pacific/Chatham",  # +12:45 and +13:45
    "Pacific/Kiritimati",  # +14:00
]

moments = st.integers(0, 45 * 365 * 86_400).map(
    lambda seconds: datetime(1995, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
kinds = st.sampled_from(KINDS)
zones = st.sampled_from(ZONES).map(ZoneInfo)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@given(moments, kinds, zones)
@example(utc("2024-04-06T15:10+00:00"), "hour", ZoneInfo("Australia/Lord_Howe"))
@example(utc("2024-10-05T15:40+00:00"), "hour", ZoneInfo("Australia/Lord_Howe"))
@example(utc("2009-11-01T03:00+00:00"), "month", ZoneInfo("America/St_Johns"))
@example(utc("2009-11-01T02:31+00:00"), "day", ZoneInfo("America/St_Johns"))
@example(utc("2011-12-30T09:59+00:00"), "day", ZoneInfo("Pacific/Apia"))
def test_every_moment_is_in_exactly_one_partition(moment: datetime, kind: Kind, zone: ZoneInfo):
    partition = partition_at(moment, kind, zone)
    before = partition_at(partition.start.astimezone(UTC) - timedelta(microseconds=1), kind, zone)

    assert partition.start.astimezone(UTC) <= moment < partition.end.astimezone(UTC)
    assert before.end.astimezone(UTC) == partition.start.astimezone(UTC)
    assert partition.next().start.astimezone(UTC) == partition.end.astimezone(UTC)
    assert len({before.key, partition.key, partition.next().key}) == 3


@given(moments, kinds, zones)
@example(utc("2024-04-06T15:10+00:00"), "hour", ZoneInfo("Australia/Lord_Howe"))
@example(utc("2024-10-05T15:40+00:00"), "hour", ZoneInfo("Australia/Lord_Howe"))
@example(utc("2009-11-01T02:30+00:00"), "hour", ZoneInfo("America/St_Johns"))
@example(utc("2009-11-01T02:31+00:00"), "hour", ZoneInfo("America/St_Johns"))
def test_a_partition_is_found_again_by_its_start_its_last_moment_and_its_key(
    moment: datetime, kind: Kind, zone: ZoneInfo
):
    partition = partition_at(moment, kind, zone)
    last = partition.end.astimezone(UTC) - timedelta(microseconds=1)

    assert partition_at(partition.start, kind, zone) == partition
    assert partition_at(last, kind, zone) == partition
    assert parse_key(partition.key, kind, zone) == partition


@given(moments, moments, kinds, zones)
def test_partitions_are_in_the_order_of_their_moments(
    one: datetime, other: datetime, kind: Kind, zone: ZoneInfo
):
    early, late = sorted([one, other])
    assert (
        partition_at(early, kind, zone).start.timestamp()
        <= partition_at(late, kind, zone).start.timestamp()
    )


@pytest.mark.parametrize(
    ("kind", "moment", "key", "start", "end"),
    [
        ("month", "2013-01-31T23:59:59+00:00", "2013-01", "2013-01-01", "2013-02-01"),
        ("month", "2013-02-28T23:59:59+00:00", "2013-02", "2013-02-01", "2013-03-01"),
        ("month", "2012-02-29T12:00:00+00:00", "2012-02", "2012-02-01", "2012-03-01"),
        ("month", "2000-02-29T12:00:00+00:00", "2000-02", "2000-02-01", "2000-03-01"),
        ("month", "2100-02-28T12:00:00+00:00", "2100-02", "2100-02-01", "2100-03-01"),
        ("month", "2013-12-31T23:59:59+00:00", "2013-12", "2013-12-01", "2014-01-01"),
        ("day", "2012-02-29T00:00:00+00:00", "2012-02-29", "2012-02-29", "2012-03-01"),
        ("day", "2013-02-28T23:00:00+00:00", "2013-02-28", "2013-02-28", "2013-03-01"),
        ("day", "2013-12-31T23:00:00+00:00", "2013-12-31", "2013-12-31", "2014-01-01"),
        # The ISO year is not always the calendar's.
        ("week", "2012-12-31T00:00:00+00:00", "2013-W01", "2012-12-31", "2013-01-07"),
        ("week", "2016-01-03T23:59:59+00:00", "2015-W53", "2015-12-28", "2016-01-04"),
        ("week", "2021-01-01T00:00:00+00:00", "2020-W53", "2020-12-28", "2021-01-04"),
        ("week", "2013-05-12T23:59:59+00:00", "2013-W19", "2013-05-06", "2013-05-13"),
    ],
)
def test_months_weeks_and_days_of_the_calendar(
    kind: Kind, moment: str, key: str, start: str, end: str
):
    partition = partition_at(datetime.fromisoformat(moment), kind, ZoneInfo("UTC"))
    assert partition.key == key
    assert f"{partition.start:%Y-%m-%d %H:%M:%S}" == f"{start} 00:00:00"
    assert f"{partition.end:%Y-%m-%d %H:%M:%S}" == f"{end} 00:00:00"


@pytest.mark.parametrize(
    ("zone", "moment", "key"),
    [
        ("America/New_York", "2013-03-01T04:59:59+00:00", "2013-02"),
        ("America/New_York", "2013-03-01T05:00:00+00:00", "2013-03"),
        ("Asia/Tokyo", "2013-02-28T14:59:59+00:00", "2013-02"),
        ("Asia/Tokyo", "2013-02-28T15:00:00+00:00", "2013-03"),
        ("Asia/Kolkata", "2013-02-28T18:29:59+00:00", "2013-02"),
        ("Asia/Kolkata", "2013-02-28T18:30:00+00:00", "2013-03"),
    ],
)
def test_a_month_begins_at_midnight_of_the_jobs_own_zone(zone: str, moment: str, key: str):
    assert partition_at(datetime.fromisoformat(moment), "month", ZoneInfo(zone)).key == key


@pytest.mark.parametrize(
    ("zone", "key", "hours"),
    [
        ("America/New_York", "2013-03-10", 23),
        ("America/New_York", "2013-11-03", 25),
        ("America/New_York", "2013-05-07", 24),
        ("Europe/Berlin", "2013-03-31", 23),
        ("Europe/Berlin", "2013-10-27", 25),
        ("Australia/Lord_Howe", "2013-04-07", 24.5),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Havana", "2013-11-03", 25),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, key: str, hours: float):
    day = parse_key(key, "day", ZoneInfo(zone))
    assert day.end.astimezone(UTC) - day.start.astimezone(UTC) == timedelta(hours=hours)


def test_where_dst_skips_midnight_the_day_begins_at_one():
    day = parse_key("2018-11-04", "day", ZoneInfo("America/Sao_Paulo"))
    assert day.start.isoformat() == "2018-11-04T01:00:00-02:00"
    assert day.next().key == "2018-11-05"


def test_where_midnight_comes_twice_the_day_begins_with_the_first():
    day = parse_key("2013-11-03", "day", ZoneInfo("America/Havana"))
    assert day.start.isoformat() == "2013-11-03T00:00:00-04:00"


def test_a_day_that_the_zone_left_out_is_not_a_partition():
    apia = ZoneInfo("Pacific/Apia")
    assert parse_key("2011-12-29", "day", apia).next().key == "2011-12-31"
    with pytest.raises(PartitionError, match="'2011-12-30' is not a day"):
        parse_key("2011-12-30", "day", apia)


def test_when_dst_ends_an_hour_comes_twice_and_has_two_keys():
    first = partition_at(utc("2013-11-03T05:30+00:00"), "hour", NEW_YORK)
    second = partition_at(utc("2013-11-03T06:30+00:00"), "hour", NEW_YORK)
    assert (first.key, second.key) == ("2013-11-03T01-0400", "2013-11-03T01-0500")
    assert first.next() == second
    assert first.end.astimezone(UTC) == second.start.astimezone(UTC)


def test_when_dst_begins_an_hour_is_left_out():
    keys = [p.key for p in _hours("2013-03-10T01-0500", 3)]
    assert keys == ["2013-03-10T01-0500", "2013-03-10T03-0400", "2013-03-10T04-0400"]


def _hours(key: str, count: int):
    hour = parse_key(key, "hour", NEW_YORK)
    for _ in range(count):
        yield hour
        hour = hour.next()


@pytest.mark.parametrize(
    ("zone", "key", "start"),
    [
        ("Asia/Kolkata", "2013-05-07T03+0530", "2013-05-06T21:30:00+00:00"),
        ("Asia/Kathmandu", "2013-05-07T03+0545", "2013-05-06T21:15:00+00:00"),
        ("America/New_York", "2013-05-07T03-0400", "2013-05-07T07:00:00+00:00"),
    ],
)
def test_an_hour_is_the_local_clocks(zone: str, key: str, start: str):
    hour = parse_key(key, "hour", ZoneInfo(zone))
    assert hour.start.astimezone(UTC).isoformat() == start
    assert (hour.start.minute, hour.end.minute) == (0, 0)


def test_where_dst_is_half_an_hour_the_hour_around_the_change_is_cut_there():
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    first = partition_at(utc("2024-04-06T14:30+00:00"), "hour", lord_howe)
    assert [first.key, first.next().key, first.next().next().key] == [
        "2024-04-07T01+1100",
        "2024-04-07T01+1030",
        "2024-04-07T02+1030",
    ]
    again = first.next()
    assert again.end.astimezone(UTC) - again.start.astimezone(UTC) == timedelta(minutes=30)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("month", "2013-5"),
        ("month", "2013-13"),
        ("month", "2013-00"),
        ("month", "2013-05-07"),
        ("month", "2013-05 "),
        ("month", "9999-12"),
        ("month", "0000-01"),
        ("month", "0001-01"),
        ("month", "２０１３-05"),
        ("month", ""),
        ("week", "2013-W53"),
        ("week", "2013-W00"),
        ("week", "2013-05"),
        ("week", "9999-W52"),
        ("day", "2013-02-29"),
        ("day", "2013-05"),
        ("day", "9999-12-31"),
        ("hour", "2013-05-07T03"),
        ("hour", "2013-05-07T24-0400"),
        ("hour", "2013-05-07T03-0500"),  # the offset of winter, in summer
        ("hour", "2013-03-10T02-0500"),  # left out by DST
        ("hour", "9999-12-31T23-0500"),
    ],
)
def test_a_wrong_key_is_named_beside_a_right_one(kind: Kind, key: str):
    right = {"month": "2013-05", "week": "2013-W05", "day": "2013-05-07"}
    with pytest.raises(PartitionError) as error:
        parse_key(key, kind, NEW_YORK)
    assert repr(key) in str(error.value)
    assert right.get(kind, "2013-05-07T03-0400") in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_moment_without_a_zone_is_refused(kind: Kind):
    naive = datetime(2013, 5, 7, 3)  # noqa: DTZ001
    with pytest.raises(PartitionError, match=r"2013-05-07T03:00:00 has no time zone"):
        partition_at(naive, kind, NEW_YORK)


def test_partitions_between_two_include_both():
    zone = ZoneInfo("UTC")
    first, last = parse_key("2012-11", "month", zone), parse_key("2013-02", "month", zone)
    assert [p.key for p in partitions_between(first, last)] == [
        "2012-11",
        "2012-12",
        "2013-01",
        "2013-02",
    ]
    assert list(partitions_between(last, first)) == []


def test_partitions_between_the_hours_of_the_end_of_dst():
    first = parse_key("2013-11-03T00-0400", "hour", NEW_YORK)
    last = parse_key("2013-11-03T02-0500", "hour", NEW_YORK)
    assert [p.key[11:] for p in partitions_between(first, last)] == [
        "00-0400",
        "01-0400",
        "01-0500",
        "02-0500",
    ]


@pytest.mark.parametrize(
    ("kind", "key", "fields"),
    [
        ("month", "2013-05", {"year": "2013", "month": "05", "day": "01", "hour": "00"}),
        ("week", "2013-W01", {"year": "2013", "week": "01", "month": "12", "day": "31"}),
        ("day", "2013-05-07", {"year": "2013", "month": "05", "day": "07"}),
        ("hour", "2013-05-07T03-0400", {"day": "07", "hour": "03"}),
    ],
)
def test_the_fields_for_a_uri_are_in_local_time(kind: Kind, key: str, fields: dict[str, str]):
    partition = parse_key(key, kind, NEW_YORK)
    assert partition.uri_fields.items() >= (fields | {"partition": key}).items()
    assert partition.path == f"{kind}={key}"


@pytest.mark.parametrize(
    "key",
    ["../2013-05", "2013-05/../x", "2013-05\n", "2013-05/", "/2013-05", "2013-05\0", "２０１３-05", "2013-0५", "*"],
)  # fmt: skip
def test_a_key_is_never_a_path(key: str):
    with pytest.raises(PartitionError, match="is not a month"):
        parse_key(key, "month", ZoneInfo("UTC"))
