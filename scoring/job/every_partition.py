"""Whether each partition of a job has rows of its own, or several would be scored from the same ones.

A job that fails this can still score a single partition, which is why it is not a mistake of
``load_job``: the ``check`` command and the Dag of a job refuse it, the ``run`` command warns.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta
from itertools import chain, pairwise

from scoring.job.partitions import Kind, Partition, partition_at
from scoring.job.schema import Job
from scoring.job.section import Problem
from scoring.job.sql_params import PARAMETERS, parameters_of
from scoring.job.uri_templates import PARTITION_FIELDS, ROOT_FIELDS, fields_of
from scoring.registry import SOURCES

_CONSECUTIVE = 32  # the days of a month, and some more
_DAYS_LATER = (28, 29, 30, 31, 364, 371)  # a month or a year of whole weeks later
_YEARS_LATER = (1, 2, 3, 4, 5, 6, 11, 28)  # some of them have the same weekdays

_FITTING: dict[Kind, str] = {
    "month": "{year}-{month} or {partition}",
    "week": "{year}-W{week} or {partition}",
    "day": "{year}-{month}-{day} or {partition}",
    "hour": "{partition}",
}
_ENOUGH: dict[Kind, set[str]] = {
    "month": {"year", "month"},
    "week": {"year", "week"},
    "day": {"year", "month", "day"},
}
"""Fields that tell all partitions apart, so that Airflow's parser need not try them."""


def problems_of_every_partition(job: Job) -> Iterator[Problem]:
    """What would give several partitions of ``job`` the same rows."""
    source = job.source
    if source.date_column is not None or source.kind not in SOURCES.built_in:
        return
    if source.sql is not None:
        yield from _problems_of_query(job, source.sql)
    elif source.uri is not None:
        yield from _problems_of_files(job, source.uri)


def _problems_of_query(job: Job, sql: str) -> Iterator[Problem]:
    if job.last_partition == job.first_partition or parameters_of(sql) & set(PARAMETERS):
        return
    yield (
        ("source", "sql"),
        f"has none of :start, :end and :partition, so that every {job.partition} would get the same "
        "rows; write such as WHERE at >= :start AND at < :end, or name the column in "
        f"source.date_column. For one {job.partition} only, give end as start",
    )


def _problems_of_files(job: Job, uri: str) -> Iterator[Problem]:
    fields = fields_of(uri)
    if "partition" in fields or _ENOUGH.get(job.partition, {"partition"}) <= fields:
        return
    roots = {name: f"{{{name}}}" for name in ROOT_FIELDS}
    seen: dict[str, str] = {}
    for partition in _sample(job):
        found = uri.format_map(roots | partition.uri_fields)
        other = seen.setdefault(found, partition.key)
        if other == partition.key:
            continue
        what = (
            f"{other} and {partition.key} would be scored from the same file, {found}"
            if fields & set(PARTITION_FIELDS)
            else f"is the same for every {job.partition}"
        )
        yield (
            ("source", "uri"),
            f"{what}; write {_FITTING[job.partition]} into it, or name the column "
            f"in source.date_column that says which {job.partition} a row belongs to. For one "
            f"{job.partition} only, give end as start",
        )
        return


def _sample(job: Job) -> Iterator[Partition]:
    """Partitions of ``job`` among which two have the same URI, if any two have."""
    first, last = job.first_partition, job.last_partition
    yield first
    following = []
    partition = first
    for _ in range(_CONSECUTIVE):
        partition = partition.next()
        following.append(partition)
    for partition in chain(following, _later(job, [first, *following[:2]]), _clock_set_back(job)):
        if last is None or not last < partition:
            yield partition


def _later(job: Job, partitions: list[Partition]) -> Iterator[Partition]:
    for partition in partitions:
        start = partition.start
        for days in _DAYS_LATER:
            yield partition_at(start + timedelta(days=days), job.partition, job.zone)
        for years in _YEARS_LATER:
            if (start.month, start.day) != (2, 29):
                moment = start.replace(year=start.year + years)
                yield partition_at(moment, job.partition, job.zone)


def _clock_set_back(job: Job) -> Iterator[Partition]:
    """The hours around the end of daylight saving time, one of which comes twice."""
    if job.partition != "hour":
        return
    begin = job.first_partition.start.astimezone(UTC)
    days = [(begin + timedelta(days=day)).astimezone(job.zone) for day in range(367)]
    for day, after in pairwise(days):
        before_offset, after_offset = day.utcoffset(), after.utcoffset()
        assert before_offset is not None
        assert after_offset is not None
        if after_offset < before_offset:
            partition = partition_at(day, job.partition, job.zone)
            for _ in range(26):
                yield partition
                partition = partition.next()
            return
