"""What ``coverage`` and ``plan`` print: tables in which years fold, and the same facts as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scoring.cli.output import print_table
from scoring.job.loader import JobFile
from scoring.job.partitions import Kind, Partition
from scoring.job.schema import Job
from scoring.monitoring.coverage import STATES, Covered, State
from scoring.monitoring.plan import backfill_command, stretches

STYLES: dict[State, str] = {
    "published": "green",
    "stale": "yellow",
    "held": "magenta",
    "failed": "bold red",
    "missing": "red",
}
LETTERS: dict[State, str] = {state: state[0].upper() for state in STATES}

_ROW_AND_COLUMN: dict[Kind, tuple[str, str]] = {
    "month": ("{year}", "{month}"),
    "week": ("{year}", "W{week}"),
    "day": ("{year}-{month}", "{day}"),
    "hour": ("{year}-{month}-{day}", "{hour}"),
}
_COLUMNS: dict[Kind, list[str]] = {
    "month": [f"{month:02d}" for month in range(1, 13)],
    "week": [f"W{week:02d}" for week in range(1, 54)],
    "day": [f"{day:02d}" for day in range(1, 32)],
    "hour": [f"{hour:02d}" for hour in range(24)],
}


def show(found: list[tuple[JobFile, list[Covered]]], as_json: bool) -> None:
    """Print the state of every partition of every job, why some are stale, and the counts."""
    if as_json:
        facts = [_facts(file.job, covered) for file, every in found for covered in every]
        print(json.dumps(facts, indent=2))
        return
    for kind in _COLUMNS:
        of_kind = [(file.job, every) for file, every in found if file.job.partition == kind]
        if of_kind:
            print_table(_grid(kind, of_kind))
            print()
    for file, every in found:
        for line in _explained(every):
            print(f"{file.job.name} {line}")
    counts = Counter(covered.state for _, every in found for covered in every)
    _print_counts(counts)


def show_plan(job: Job, again: list[Covered], as_json: bool) -> None:
    """Print what would be scored again and why, and the commands that do it."""
    commands = [backfill_command(job, s) for s in stretches(c.partition for c in again)]
    if as_json:
        partitions = [_facts(job, covered) for covered in again]
        plan = {"job": job.name, "partitions": partitions, "commands": commands}
        print(json.dumps(plan, indent=2))
        return
    if not again:
        print(f"{job.name}: nothing to score")
        return
    for line in _explained(again):
        print(f"{job.name} {line}")
    print(f"\n{_partitions(job, len(again))} to score:\n")
    print("\n".join(commands))


def _facts(job: Job, covered: Covered) -> dict[str, Any]:
    return {
        "job": job.name,
        "partition": covered.partition.key,
        "state": covered.state,
        "model_version": covered.model_version,
        "reasons": [dataclasses.asdict(reason) for reason in covered.reasons],
        "unchecked": list(covered.unchecked),
    }


def _grid(kind: Kind, jobs: list[tuple[Job, list[Covered]]]) -> Table:
    """Return a table with one column for all partitions of a row: rich needs a second for a dozen."""
    columns = _COLUMNS[kind]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("job", "", " ".join(columns)):
        table.add_column(header, no_wrap=True)
    for job, every in jobs:
        rows = groupby(every, lambda covered: _place(covered.partition)[0])
        for number, (row, of_row) in enumerate(rows):
            table.add_row("" if number else job.name, row, _line(columns, of_row))
        if not every:
            table.add_row(job.name, "", "none has ended yet")
    return table


def _line(columns: list[str], of_row: Iterable[Covered]) -> Text:
    """Return the states of ``of_row``, each under its column."""
    states: dict[str, list[State]] = {}
    for covered in of_row:  # two in one place: an hour that comes twice when DST ends
        states.setdefault(_place(covered.partition)[1], []).append(covered.state)
    line = Text()
    for column in columns:
        for state in states.get(column, []):
            line.append(LETTERS[state], STYLES[state])
        line.append(" " * (len(column) + 1 - len(states.get(column, []))))
    return line


def _place(partition: Partition) -> tuple[str, str]:
    """Return the row and the column that a partition stands in."""
    row, column = _ROW_AND_COLUMN[partition.kind]
    return row.format_map(partition.uri_fields), column.format_map(partition.uri_fields)


def _explained(every: Iterable[Covered]) -> list[str]:
    """Return a line for each cause, with the partitions that it concerns."""
    of_cause: dict[str, list[Partition]] = {}
    for covered in every:
        for cause in _causes(covered):
            of_cause.setdefault(cause, []).append(covered.partition)
    return [
        f"{', '.join(stretch.keys for stretch in stretches(partitions))}: {cause}"
        for cause, partitions in of_cause.items()
    ]


def _causes(covered: Covered) -> list[str]:
    causes = [f"{covered.state}: {reason.detail}" for reason in covered.reasons]
    if not causes and covered.state != "published":
        causes = [covered.state]
    return causes + [f"not compared: {what}" for what in covered.unchecked]


def _print_counts(counts: Counter[State]) -> None:
    text = Text()
    for state in STATES:
        text.append(", " if text else "")
        text.append(f"{counts[state]:,} {state} ({LETTERS[state]})", STYLES[state])
    Console(emoji=False, highlight=False, soft_wrap=True).print(text)


def _partitions(job: Job, count: int) -> str:
    return f"{count:,} {job.partition}{'' if count == 1 else 's'}"
