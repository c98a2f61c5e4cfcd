"""Detection of jobs whose partitions would be scored from the same rows.

Such a job can still score a single partition, so ``load_job`` accepts it: the ``check`` command and
the Dag of the job reject it, and the ``run`` command warns.
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
"""Fields that distinguish all partitions, so that no partitions need to be tried."""


def problems_of_every_partition(job: Job) -> Iterator[Problem]:
    """Report sources that give several partitions of ``job`` the same rows."""
    source = job.source
    if source.date_column is not None or source.kind not in SOURCES.built_in:
        return
    if source.uri is None:
        yield from _problems_of_query(job, source.sql or "")
    elif source.sql is None or not parameters_of(source.sql) & set(PARAMETERS):
        yield from _problems_of_files(job, source.uri)


def _problems_of_query(job: Job, sql: str) -> Iterator[Problem]:
    if job.last_partition == job.first_partition or parameters_of(sql) & set(PARAMETERS):
        return
    yield (
        ("source", "sql"),
        f"uses none of :start, :end and :partition, so every {job.partition} would have the same "
        "rows; add a condition such as WHERE at >= :start AND at < :end, or set "
        f"source.date_column. For a job of one {job.partition}, set end to start",
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
            f"{other} and {partition.key} would have the same source, {found}"
            if fields & set(PARTITION_FIELDS)
            else f"is the same for every {job.partition}"
        )
        yield (
            ("source", "uri"),
            f"{what}; add {_FITTING[job.partition]}, or set source.date_column to the column that "
            f"determines the {job.partition} of a row. For a job of one {job.partition}, set end "
            "to start",
        )
        return


def _sample(job: Job) -> Iterator[Partition]:
    """Iterate over partitions of ``job``, two of which have the same URI if any two do."""
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
    """Iterate over the hours around the end of daylight saving time, one of which is repeated."""
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
