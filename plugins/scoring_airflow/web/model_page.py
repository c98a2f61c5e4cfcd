"""A model version of a job, and the partitions that it has scored."""

from __future__ import annotations

from fastapi import APIRouter, Response

from scoring_airflow.web.cells import job_cells
from scoring_airflow.web.clock import Now
from scoring_airflow.web.jobs import covered_jobs
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableJob

router = APIRouter(include_in_schema=False)


@router.get("/models/{job}/{version}")
def model(job: ReadableJob, version: str, now: Now) -> Response:
    (found,) = job_cells(covered_jobs([job], now), now)
    scored = [cell for cell in found.cells if cell.covered.model_version == version]
    return html("model.html", job=found, version=version, cells=scored)
