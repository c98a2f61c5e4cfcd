"""One partition of a job: what its manifest says."""

from __future__ import annotations

from fastapi import APIRouter, Response

from scoring_airflow.web.jobs import published
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableJob

router = APIRouter(include_in_schema=False)


@router.get("/jobs/{job}/{key}")
def month(job: ReadableJob, key: str) -> Response:
    return html("month.html", job=job, key=key, manifest=published(job, key))
