"""Names of columns: those that scoring adds itself, and those that readers could not tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scoring.job.section import Problem

if TYPE_CHECKING:
    from scoring.job.schema import Job

ADDED_COLUMNS = ("model_version", "partition")
"""Columns that every published table has, beside the row ids, the outputs and the kept columns."""

QUARANTINE_COLUMNS = ("row", "reason", "column", "value")
"""Columns that every quarantine table has, beside the row ids and ``partition``."""

ROW = "__row__"
"""The staged column with each row's number in the source, from 1."""

RESERVED_COLUMNS = (ROW, "__filename", "__fragment_index", "__batch_index", "__last_in_fragment")
"""``ROW``, and the columns that Arrow (and so pandas) adds to each dataset that it reads."""


def why_taken(name: str, job: Job) -> str | None:
    """Why no published column of ``job`` may be called ``name``; None where one may.

    Case does not matter: DuckDB, Spark and Hive take ``Month`` and ``month`` for one column.
    """
    folded = name.casefold()
    if folded in ADDED_COLUMNS:
        why = "is a column that every published table gets"
    elif folded == job.partition:
        why = (
            f"is the key of the folders at the destination ({job.partition}=…), which readers get as a "
            "column of that name"
        )
    elif folded in RESERVED_COLUMNS:
        why = "is a name that scoring and Arrow use themselves"
    else:
        return None
    return why if folded == name else f"{why}, in other capitals, and some readers ignore these"


def same_but_for_case(names: list[str]) -> tuple[str, str] | None:
    """Two of ``names`` that differ in case only."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            return other, name
    return None


def problems_of_columns(job: Job) -> Iterator[Problem]:
    """What is wrong with the names of the columns that ``job`` reads and publishes."""
    yield from _problems_of_row_ids(job)
    outputs = [job.output.prediction, *job.output.probabilities]
    for name in dict.fromkeys(outputs):
        if outputs.count(name) > 1:
            yield ("output",), f"two outputs are called {name!r}"
        if name in job.kept_columns:
            yield ("output",), f"{name!r} is a row id or a kept column and an output too"
    for name in dict.fromkeys([*outputs, *job.output.keep]):
        if why := why_taken(name, job):
            remedy = (
                "give the output another name"
                if name in outputs
                else "leave it out of keep, or give it another name in the source"
            )
            yield ("output",), f"{name!r} {why}; {remedy}"
    if pair := same_but_for_case([*job.kept_columns, *outputs]):
        yield (
            ("output",),
            f"{pair[0]!r} and {pair[1]!r} differ in case only, and readers such as DuckDB and Spark take "
            "them for one column; give one of them another name",
        )
    for name in job.inputs:
        if name == ROW:
            yield ("inputs", name), _staged(name)
    if job.source.date_column == ROW:
        yield ("source", "date_column"), _staged(ROW)


def _problems_of_row_ids(job: Job) -> Iterator[Problem]:
    for name in dict.fromkeys(job.row_id):
        if job.row_id.count(name) > 1:
            yield ("row_id",), f"{name!r} is listed twice"
        if name.casefold() in QUARANTINE_COLUMNS:
            yield (
                ("row_id",),
                f"{name!r} is a column of the quarantine, beside the row ids; give it another name in the "
                "source",
            )
        if why := why_taken(name, job):
            yield ("row_id",), f"{name!r} {why}; give it another name in the source"


def _staged(name: str) -> str:
    return (
        f"{name!r} is a name that scoring uses itself; give the column another name in the source"
    )
