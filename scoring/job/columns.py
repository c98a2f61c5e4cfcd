"""Reserved column names, and names that readers cannot distinguish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scoring.job.section import Loc, Problem

if TYPE_CHECKING:
    from scoring.job.schema import Job

ADDED_COLUMNS = ("model_version", "partition")
"""Columns that every published table has, besides the row ids, the outputs and the kept columns."""

QUARANTINE_COLUMNS = ("row", "reason", "column", "value")
"""Columns that every quarantine table has, besides the row ids and ``partition``."""

LEFT_OUT = "left_out"
"""The column in which a scorer says why it leaves a row out."""

ROW_NUMBER, FILE = "row", "file"
"""The columns that ``row_id: row_number`` publishes: the place in the source, and the file."""

IN_FILE = "__file__"
"""The column in which a source of files says which one a row is in, until it becomes ``file``."""

ROW = "__row__"
"""The staged column with each row's number in the source, from 1."""

RESERVED_COLUMNS = (ROW, "__filename", "__fragment_index", "__batch_index", "__last_in_fragment")
"""``ROW``, and the columns that Arrow (and so pandas) adds to each dataset that it reads."""


def why_taken(name: str, job: Job) -> str | None:
    """Return why ``name`` is reserved in the published table of ``job``, or None.

    Case does not matter: for DuckDB, Spark and Hive, ``Month`` and ``month`` are the same column.
    """
    folded = name.casefold()
    if folded in ADDED_COLUMNS:
        why = "is a column of every published table"
    elif folded == job.partition:
        why = (
            f"is the name of the destination's partition folders ({job.partition}=…), which "
            "readers add as a column"
        )
    elif folded == LEFT_OUT and job.scorer:
        why = "is the column in which a scorer says why it leaves a row out"
    elif folded in RESERVED_COLUMNS:
        why = "is reserved for internal use"
    else:
        return None
    return why if folded == name else f"{why} (names are compared without regard to case)"


def same_but_for_case(names: list[str]) -> tuple[str, str] | None:
    """Return two of ``names`` that differ only in case, or None."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            return other, name
    return None


def problems_of_columns(job: Job) -> Iterator[Problem]:
    """Report invalid names of columns that ``job`` reads or publishes."""
    if job.row_id == "row_number":
        yield from _problems_of_added_columns(job)
    else:
        yield from _problems_of_row_ids(job.row_id, job)
    outputs = [job.output.prediction, *job.output.probabilities]
    for name in dict.fromkeys(outputs):
        if outputs.count(name) > 1:
            yield ("output",), f"two outputs have the name {name!r}"
        if name in job.kept_columns:
            yield ("output",), f"{name!r} is both an output and a row id or kept column"
    for name in dict.fromkeys([*outputs, *job.output.keep]):
        if why := why_taken(name, job):
            remedy = (
                "rename the output"
                if name in outputs
                else "remove it from keep, or rename it in the source"
            )
            yield ("output",), f"{name!r} {why}; {remedy}"
    if pair := same_but_for_case([*job.kept_columns, *outputs]):
        yield (
            ("output",),
            f"{pair[0]!r} and {pair[1]!r} differ only in case, and readers such as DuckDB and "
            "Spark treat them as the same column; rename one of them",
        )
    for name in job.inputs:
        if name == ROW:
            yield ("inputs", name), _staged(name)
    if job.source.date_column == ROW:
        yield ("source", "date_column"), _staged(ROW)


def _problems_of_added_columns(job: Job) -> Iterator[Problem]:
    used: list[tuple[str, Loc]] = [
        *((name, ("inputs", name)) for name in job.inputs),
        *((name, ("output", "keep")) for name in job.output.keep),
        *((name, ("source", "derive", name)) for name in job.source.derive),
    ]
    for name, loc in used:
        if name.casefold() in job.added_columns:
            yield (
                loc,
                f"{name!r} is a column that row_id: row_number adds; rename it, such as by "
                "source.derive",
            )


def _problems_of_row_ids(row_id: list[str], job: Job) -> Iterator[Problem]:
    for name in dict.fromkeys(row_id):
        if row_id.count(name) > 1:
            yield ("row_id",), f"{name!r} is listed twice"
        if name.casefold() in QUARANTINE_COLUMNS:
            yield (
                ("row_id",),
                f"{name!r} is a column of the quarantine file; rename it in the source",
            )
        if why := why_taken(name, job):
            yield ("row_id",), f"{name!r} {why}; rename it in the source"


def _staged(name: str) -> str:
    return f"{name!r} is reserved for internal use; rename the column in the source"
