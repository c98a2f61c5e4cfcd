"""The expressions of a job file, as far as their text alone says; and the reasons of rows.

What is in an expression is checked by ``scoring.expressions``, which needs DuckDB.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from scoring.job.section import Problem

if TYPE_CHECKING:
    from scoring.job.schema import Job

Expression = Annotated[str, Field(min_length=1, max_length=10_000)]
LEFT_OUT_REASON = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
LeftOutReason = Annotated[str, Field(pattern=LEFT_OUT_REASON)]

REASON_CODES = (
    "null_row_id",
    "duplicate_row_id",
    "outside_partition",
    "wrong_type",
    "missing_value",
    "infinite",
    "below_min",
    "above_max",
    "not_allowed",
    "null_prediction",
    "infinite_prediction",
)
"""Why the contract quarantines rows."""


def problems_of_reasons(job: Job) -> Iterator[Problem]:
    """Report reasons that mean two things, and limits of reasons that ``job`` does not have."""
    for name in job.leave_out:
        if name in REASON_CODES:
            yield ("leave_out", name), "is a reason of quarantined rows; choose another name"
    known = [*REASON_CODES, *job.leave_out]
    for reason in job.checks.max_fraction:
        if reason in known or job.scorer:  # a scorer leaves rows out for reasons of its own
            continue
        close = difflib.get_close_matches(reason, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
        yield ("checks", "max_fraction", reason), f"is not a reason of this job{hint}"
