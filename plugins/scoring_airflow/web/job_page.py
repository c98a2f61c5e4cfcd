"""One job: all of its partitions, a line for each year, month or day."""

from __future__ import annotations

from itertools import groupby

from fastapi import APIRouter, Response

from scoring_airflow.web.cells import MEANINGS, SYMBOLS, job_cells
from scoring_airflow.web.clock import Now
from scoring_airflow.web.jobs import covered_jobs
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableJob, User, backfillable

router = APIRouter(include_in_schema=False)


@router.get("/jobs/{job}")
def job(job: ReadableJob, user: User, now: Now) -> Response:
    (found,) = job_cells(covered_jobs([job], now), now)
    groups = [(group, list(of)) for group, of in groupby(found.cells, lambda c: c.place[0])]
    return html(
        "job.html",
        job=found,
        groups=groups[::-1],
        columns=sorted({cell.place[1] for cell in found.cells}),
        may_backfill=backfillable(user, [job]),
        now=now,
        meanings=MEANINGS,
        symbols=SYMBOLS,
    )
