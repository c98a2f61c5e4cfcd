"""``diff``: how the predictions of model versions differ, partition by partition."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from scoring.cli import options as shared
from scoring.cli import output
from scoring.errors import JobError, ScoringError

if TYPE_CHECKING:
    from scoring.job.partitions import Partition
    from scoring.monitoring.difference import Difference, Segment
    from scoring.pipeline.context import PartitionContext
    from scoring.pipeline.version_diff import VersionDiff

HELP = "compare the predictions of model versions, candidates too; nothing is published"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    parser.add_argument(
        "version",
        nargs="+",
        help="one version is compared with what is published; of several, the others with the first",
    )
    parser.add_argument(
        "--from",
        metavar="PARTITION",
        dest="first",
        help="the first partition (default: that of the first published one)",
    )
    parser.add_argument(
        "--to", metavar="PARTITION", dest="last", help="the last one (default: the last published)"
    )
    parser.add_argument(
        "--by", metavar="COLUMN", help="also by the most frequent values of a kept column"
    )
    shared.add_workers(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.pipeline.context import PartitionContext

    job_file = shared.job_file(options)
    job, roots = job_file.job, job_file.roots(options.data)
    for version in options.version:
        job.version_for(job.first_partition, version)  # raises where there is none
    if options.by is not None and options.by not in job.output.keep:
        known = ", ".join(job.output.keep) or "none"
        raise JobError(f"{options.by!r} is not a kept column of {job.name} (output.keep: {known})")
    context = PartitionContext(job_file, job.first_partition, roots, "diff")
    partitions = _partitions(context, options.first, options.last)
    found, status = _compared(context, partitions, options)
    if options.json:
        print(json.dumps([_as_json(one) for one in found], indent=2))
    elif found:
        _print(found, options.by)
    elif not status:
        print(f"nothing is published for {job.name}, so there is nothing to compare with")
    return status


def _partitions(context: PartitionContext, first: str | None, last: str | None) -> list[Partition]:
    """Return the partitions between the two; those that are published where one is not given."""
    job = context.job
    if first is not None and last is not None:
        return job.partitions_to_score([f"{first}..{last}"])
    published = [job.parse(m.partition) for m in context.publisher.all_published()]
    start = job.partition_to_score(first) if first else None
    end = job.partition_to_score(last) if last else None
    return [p for p in published if not (start and p < start) and not (end and end < p)]


def _compared(
    context: PartitionContext, partitions: list[Partition], options: argparse.Namespace
) -> tuple[list[VersionDiff], int]:
    """Compare one after the other; an error of one does not stop the others."""
    from scoring.pipeline.version_diff import diff_versions

    found: list[VersionDiff] = []
    status = 0
    segments = [options.by] if options.by else []
    for partition in partitions:
        one = replace(context, partition=partition)
        try:
            with output.progress(one.name, options.json) as on_progress:
                found += diff_versions(one, options.version, segments, options.workers, on_progress)
        except ScoringError as error:
            if len(partitions) == 1:
                raise
            status = status or error.exit_status
            print(f"error: {one.name}: {error}", file=sys.stderr)
    return found, status


def _as_json(one: VersionDiff) -> dict[str, Any]:
    difference = one.difference.model_dump(mode="json")
    return asdict(one) | {
        "difference": difference | {"changed_fraction": one.difference.changed_fraction}
    }


def _print(found: list[VersionDiff], by: str | None) -> None:
    output.table_of([_facts(one) for one in found], as_json=False)
    for one in found:
        for change in one.difference.classes[:5]:
            print(
                f"{one.partition} {one.other}: {change.rows:,} rows are {change.other} instead of "
                f"{change.base}"
            )
    if by is not None:
        print()
        segments = [
            _segment(one, by, of) for one in found for of in one.difference.segments.get(by, [])
        ]
        if not segments:
            print(f"{by} has too many values to compare by them", file=sys.stderr)
        output.table_of(segments, as_json=False)
    for changed in dict.fromkeys(one.partition for one in found if one.source_changed):
        print(
            f"warning: {changed}: the source has changed since it was published; some of the "
            "difference may be the source's",
            file=sys.stderr,
        )


def _facts(one: VersionDiff) -> dict[str, Any]:
    of = one.difference
    facts: dict[str, Any] = {
        "partition": one.partition,
        "base": one.base,
        "other": one.other,
        **_numbers(of),
    }
    for name, largest in of.probabilities.items():
        facts[f"max {name}"] = output.figure(largest)
    for name in dict.fromkeys([*one.base_errors, *one.other_errors]):
        before, now = one.base_errors.get(name), one.other_errors.get(name)
        facts[name] = f"{output.figure(before)} → {output.figure(now)}"
    return facts


def _segment(one: VersionDiff, by: str, of: Segment) -> dict[str, Any]:
    return {
        "partition": one.partition,
        "other": one.other,
        by: of.value if of.value is not None else "(null)",
        **_numbers(of),
    }


def _numbers(of: Difference | Segment) -> dict[str, Any]:
    facts: dict[str, Any] = {"rows": of.rows, "changed": f"{of.changed_fraction:.2%}"}
    if of.max_abs_change is not None:
        facts |= {
            "mean change": output.figure(of.mean_change),
            "largest": output.figure(of.max_abs_change),
        }
    if of.only_base or of.only_other:
        facts |= {"only in base": of.only_base, "only in other": of.only_other}
    return facts
