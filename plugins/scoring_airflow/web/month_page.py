"""One partition of a job: what was scored, by which model, and whether it can be trusted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Response

from scoring_airflow.stored_dags import key_of_run
from scoring_airflow.web.clock import Now
from scoring_airflow.web.jobs import readable_file
from scoring_airflow.web.month import Asked, Month, read_month
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableJob, User, readable_job

router = APIRouter(include_in_schema=False)


def _asked(
    against: Annotated[str, Query(max_length=100)] = "",
    show: Annotated[str, Query(max_length=5)] = "",
) -> Asked:
    return Asked(against, show == "all")


What = Annotated[Asked, Depends(_asked)]


@router.get("/jobs/{job}/{key}")
def month(job: ReadableJob, key: str, now: Now, asked: What) -> Response:
    return _page(read_month(job, key, now, asked))


@router.get("/runs/{dag_id}/{run_id}")
def of_run(dag_id: str, run_id: str, user: User, now: Now, asked: What) -> Response:
    """Answer with the page of the partition that a run scores: a tab of every run of every Dag."""
    try:
        job = readable_job(dag_id, user)
    except HTTPException:
        # One text for all of these: nobody learns from it which Dags there are.
        raise HTTPException(
            404, f"{dag_id} is not a Dag that scores partitions, or not one that you may read."
        ) from None
    key = key_of_run(dag_id, run_id, readable_file(job).job)
    if key is None:
        raise HTTPException(404, f"{dag_id} has no run {run_id} that scores a partition.")
    return _page(read_month(job, key, now, asked, run_id))


def _page(found: Month) -> Response:
    return html("month.html", month=found, key=found.partition.key)
