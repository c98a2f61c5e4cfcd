"""The tab of a Dag in Airflow's UI: it leads to the job, or says that there is none."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import RedirectResponse

from scoring_airflow.evaluation import SUFFIX
from scoring_airflow.stored_dags import stored_jobs
from scoring_airflow.web import urls
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableDag, User, readable_job

router = APIRouter(include_in_schema=False)


@router.get("/dags/{dag_id}")
def dag(dag_id: ReadableDag, user: User) -> Response:
    if stored_jobs([dag_id]):
        return RedirectResponse(urls.job(dag_id), 303)
    if dag_id.endswith(SUFFIX):
        try:
            job = readable_job(dag_id.removesuffix(SUFFIX), user)
        except HTTPException:  # a Dag of one's own with such a name, or a job for others
            return html("dag.html", dag_id=dag_id)
        return RedirectResponse(urls.job(job.dag_id), 303)
    return html("dag.html", dag_id=dag_id)
