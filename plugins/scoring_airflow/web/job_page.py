"""One job: what it is, all of its partitions, what is stale and why, and what happened over time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query, Response

from scoring.job.loader import JobFile
from scoring.job.partitions import Kind, partition_at
from scoring.monitoring.plan import causes
from scoring.monitoring.versions import job_files
from scoring_airflow.stored_dags import next_runs
from scoring_airflow.web.cells import MEANINGS, SYMBOLS, job_cells
from scoring_airflow.web.clock import Now
from scoring_airflow.web.history import history
from scoring_airflow.web.jobs import covered_jobs
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableJob, User, backfillable, may_read_code
from scoring_airflow.web.timeline import charts

router = APIRouter(include_in_schema=False)

GROUPS_SHOWN: dict[Kind, int] = {"month": 100, "week": 100, "day": 36, "hour": 31}
"""How many years, months or days the table shows, unless everything is asked for."""
CHARTED, CHARTED_AT_MOST = 120, 1_000
"""How many partitions the charts show, and where everything is asked for."""


@dataclass(frozen=True)
class NextRun:
    """The run that the scheduler makes next: the key of its partition, and from when on."""

    key: str
    at: datetime


@router.get("/jobs/{job}")
def job(
    job: ReadableJob, user: User, now: Now, show: Annotated[str, Query(max_length=5)] = ""
) -> Response:
    (found,) = job_cells(covered_jobs([job], now), now)
    file, everything = found.covered.file, show == "all"
    groups = [(group, list(of)) for group, of in groupby(found.cells, lambda c: c.place[0])]
    shown = groups if everything or not found.kind else groups[-GROUPS_SHOWN[found.kind] :]
    over_time = history(found.covered)
    latest = slice(-(CHARTED_AT_MOST if everything else CHARTED), None)
    points = over_time.points[latest]
    schedule = next_runs(job.dag_id)
    return html(
        "job.html",
        job=found,
        groups=shown[::-1],
        columns=sorted({cell.place[1] for _, cells in shown for cell in cells}),
        earlier=sum(len(cells) for _, cells in groups) - sum(len(cells) for _, cells in shown),
        everything=everything,
        may_backfill=backfillable(user, [job]),
        now=now,
        meanings=MEANINGS,
        symbols=SYMBOLS,
        schedule=schedule.schedule,
        next_run=_next_run(schedule.next_start, schedule.next_at, file) if file else None,
        lines=_lines(file) if file and may_read_code(user, job) else None,
        causes=causes(found.covered.partitions),
        history=over_time,
        is_evaluated=any(point.evaluation for point in over_time.points),
        uses=job_files(over_time.points)[::-1],
        points=points,
        charts=charts(found.cells[latest], points, file.job.output.prediction) if file else [],
    )


def _next_run(start: datetime | None, at: datetime | None, file: JobFile) -> NextRun | None:
    if start is None or at is None:
        return None
    return NextRun(partition_at(start, file.job.partition, file.job.zone).key, at)


def _lines(file: JobFile) -> list[str] | None:
    """Return the lines of the job file; None where it has changed, or has gone, since it was read."""
    try:
        data = file.path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return None
    return data.decode(errors="replace").splitlines()
