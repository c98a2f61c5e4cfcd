"""A job whose partitions would have the same source rows is refused, except for a single partition."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from scoring.errors import JobError
from scoring.job.every_partition import problems_of_every_partition
from scoring.job.loader import check_every_partition
from scoring.job.partitions import EXAMPLES, Kind
from scoring.job.schema import Job
from tests.scoring.factories import JOB, Place, merged

CRONS = {"month": "0 3 2 * *", "week": "0 3 * * 2", "day": "0 3 * * *", "hour": "15 * * * *"}


def problems(kind: Kind, zone: str = "America/New_York", **changes: Any) -> dict[str, str]:
    start = changes.pop("start", EXAMPLES[kind])
    values: dict[str, Any] = {
        "partition": kind,
        "schedule": CRONS[kind],
        "start": start,
        "timezone": zone,
        "model": {"versions": [{"version": "v1", "uri": "a.skops", "in_force_from": start}]},
    }
    job = Job.model_validate(merged(JOB, values | changes))
    assert list(job.problems()) == []
    return {".".join(map(str, loc)): message for loc, message in problems_of_every_partition(job)}


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("uri", ["a.parquet", "{data}/*.csv", "https://host/x.csv", "YYYY-MM.csv"])
def test_one_uri_for_all_partitions_is_refused(kind: Kind, uri: str):
    message = problems(kind, source={"uri": uri})["source.uri"]
    assert message.startswith(f"is the same for every {kind}; add {{")
    assert "source.date_column" in message
    assert f"For a job of one {kind}, set end to start" in message


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_single_partition_may_have_any_uri(kind: Kind):
    assert problems(kind, source={"uri": "a.parquet"}, end=EXAMPLES[kind]) == {}


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("uri", ["a.parquet", "{year}.parquet"])
def test_a_date_column_assigns_rows_to_partitions(kind: Kind, uri: str):
    assert problems(kind, source={"uri": uri, "date_column": "at"}) == {}


@pytest.mark.parametrize(
    ("kind", "uri"),
    [
        ("month", "{year}"),
        ("month", "{month}"),
        ("month", "{month}/{day}"),
        ("month", "{year}/{day}/{hour}"),
        ("week", "{year}"),
        ("week", "{week}"),
        ("week", "{year}-{month}"),
        ("week", "{month}-{day}"),
        ("week", "{week}-{month}-{day}"),
        ("day", "{year}-{month}"),
        ("day", "{month}-{day}"),
        ("day", "{year}-{day}"),
        ("day", "{year}-{week}"),
        ("day", "{week}-{month}-{day}"),
        ("day", "{day}"),
        ("hour", "{year}-{month}-{day}"),
        ("hour", "{hour}"),
        ("hour", "{day}T{hour}"),
        ("hour", "{month}-{day}T{hour}"),
        ("hour", "{year}-{month}T{hour}"),
        ("hour", "{year}-{day}T{hour}"),
    ],
)
def test_fields_that_do_not_distinguish_all_partitions_are_refused(kind: Kind, uri: str):
    message = problems(kind, source={"uri": f"{{data}}/{uri}.parquet"})["source.uri"]
    assert " would have the same source, {data}/" in message


@pytest.mark.parametrize(
    ("kind", "uri"),
    [
        *[(kind, "{partition}") for kind in get_args(Kind)],
        ("month", "{year}/{month}"),
        ("month", "{year}-{month}-{day}"),
        ("month", "{year}-{week}"),
        ("week", "{year}-W{week}"),
        ("week", "{year}-{month}-{day}"),
        ("day", "{year}-{month}-{day}"),
        ("day", "{year}-{week}-{day}"),
    ],
)
def test_fields_that_distinguish_all_partitions_are_enough(kind: Kind, uri: str):
    assert problems(kind, source={"uri": f"{{data}}/{uri}.parquet"}) == {}


def test_an_hour_that_comes_twice_has_the_same_local_fields():
    source = {"uri": "{year}-{month}-{day}T{hour}.parquet"}
    message = problems("hour", source=source)["source.uri"]
    assert message.startswith(
        "2013-11-03T01-0400 and 2013-11-03T01-0500 would have the same source"
    )
    assert "; add {partition}" in message
    for zone in ("UTC", "Asia/Tokyo"):
        start = {"UTC": "2013-05-07T03+0000", "Asia/Tokyo": "2013-05-07T03+0900"}[zone]
        assert problems("hour", zone, start=start, source=source) == {}


def test_only_partitions_of_the_job_count():
    source = {"uri": "{month}.parquet"}
    assert problems("month", source=source, end="2014-04") == {}
    message = problems("month", source=source, end="2014-05")["source.uri"]
    assert message.startswith("2013-05 and 2014-05 would have the same source, 05.parquet")


def test_a_year_that_is_about_to_end_is_the_same_for_later_partitions():
    assert "2014-01 and 2014-02 would" in problems("month", start="2013-12", source={"uri": "{year}"})[
        "source.uri"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_query_without_the_partition_is_refused(kind: Kind):
    sql = "SELECT id, x FROM t WHERE note <> ':start' ORDER BY id -- :end"
    source = {"uri": None, "sql": sql, "conn_id": "warehouse"}
    message = problems(kind, source=source)["source.sql"]
    assert message.startswith(f"uses none of :start, :end and :partition, so every {kind} would")
    assert problems(kind, source=source, end=EXAMPLES[kind]) == {}
    assert problems(kind, source=source | {"date_column": "at"}) == {}
    for name in ("start", "end", "partition"):
        asked = sql.replace(" ORDER", f" AND at >= :{name} ORDER")
        assert problems(kind, source=source | {"sql": asked}) == {}


def test_a_job_is_loaded_and_only_the_check_refuses_it(place: Place):
    file = place.job(source={"uri": "{data}/a.parquet"})
    with pytest.raises(JobError) as error:
        check_every_partition(file)
    assert "(1 problem):\n  line 5, source.uri: is the same for every month" in str(error.value)
    assert file.place(("source", "uri")) == f"{file.path}, line 5, source.uri"
    check_every_partition(place.job())
