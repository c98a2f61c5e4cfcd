"""What has become stale is news once, and again after it was right or for another reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scoring.monitoring.stale_news import StaleNews, stale_news
from tests.s3_server import connections
from tests.scoring.factories import MONTH, Place, rows, run_steps

NOW = datetime(2014, 1, 1, tzinfo=UTC)
Changes = dict[str, Any]


@pytest.fixture
def published(place: Place) -> Place:
    """February and March are published."""
    place.source(rows(10), "2013-03.parquet")
    for key in (MONTH, "2013-03"):
        run_steps(place.run(place.job(end="2013-04"), key))
    return place


def news(place: Place, after: str = "2013-04", now: datetime = NOW, **changes: Any) -> StaleNews:
    """What is news after the partition ``after`` was published."""
    job = place.job(end="2013-04", **changes)
    roots = job.roots(str(place.data))
    return stale_news(job, roots, connections(), now, job.job.parse(after))


def keys(found: StaleNews) -> list[str]:
    return [one.partition.key for one in found.partitions]


def test_a_stale_partition_is_news_until_it_is_remembered(published: Place):
    found = news(published)
    assert keys(found) == []
    found.remember()
    assert not (published.out / "_stale.json").exists()  # nothing to remember
    published.source(rows(12), "2013-02.parquet")
    assert keys(news(published)) == [MONTH]
    found = news(published)
    assert keys(found) == [MONTH]
    found.remember()
    assert keys(news(published)) == []


def test_another_partition_and_another_reason_are_news(published: Place):
    published.source(rows(12), "2013-02.parquet")
    news(published).remember()
    published.source(rows(12), "2013-03.parquet")
    found = news(published)
    assert keys(found) == ["2013-03"]
    found.remember()
    assert keys(news(published, output={"prediction": "z"})) == [MONTH, "2013-03"]


def test_what_is_scored_again_is_news_when_it_becomes_stale_again(published: Place):
    published.source(rows(12), "2013-02.parquet")
    news(published).remember()
    run_steps(published.run(published.job(end="2013-04"), MONTH, "again"))
    found = news(published)
    assert keys(found) == []
    found.remember()
    published.source(rows(14), "2013-02.parquet")
    assert keys(news(published)) == [MONTH]


def test_what_was_published_just_now_is_not_news(published: Place):
    published.source(rows(12), "2013-02.parquet")
    found = news(published, after=MONTH)
    assert keys(found) == []
    found.remember()
    assert keys(news(published, after="2013-03")) == []


def test_only_partitions_that_have_ended_are_news(published: Place):
    published.source(rows(12), "2013-03.parquet")
    assert keys(news(published, now=datetime(2013, 3, 31, tzinfo=UTC))) == []
    assert keys(news(published)) == ["2013-03"]


@pytest.mark.parametrize("record", [None, b"{", b"[1]", b'{"2013-02": 1}'])
def test_a_record_that_is_gone_or_broken_makes_it_news_once_more(
    published: Place, record: bytes | None
):
    published.source(rows(12), "2013-02.parquet")
    news(published).remember()
    path = published.out / "_stale.json"
    path.unlink()
    if record is not None:
        path.write_bytes(record)
    found = news(published)
    assert keys(found) == [MONTH]
    found.remember()
    assert keys(news(published)) == []
