"""The FastAPI app of the pages, which Airflow mounts at ``/scoring``.

::

    /                        coverage_page    all jobs: is everything well?
    /jobs/JOB                job_page         one job
    /jobs/JOB/PARTITION      month_page       one partition
    /models/JOB              model_page       the model versions of a job side by side
    /models/JOB/VERSION      model_page       one of them
    /dags/DAG                dag_page         the tab of a Dag in Airflow's UI
    /api/v1/…                api              the same as JSON
    /static/…                static_files     style sheet and script

Every route has ``guard``, and every answer the headers of ``LockedDown``.
"""

from __future__ import annotations

from fastapi import Depends, FastAPI

from scoring_airflow.web import (
    api,
    coverage_page,
    dag_page,
    job_page,
    model_page,
    month_page,
    static_files,
)
from scoring_airflow.web.errors import add_handlers
from scoring_airflow.web.security import LockedDown, guard

ROUTERS = (
    coverage_page.router,
    job_page.router,
    month_page.router,
    model_page.router,
    dag_page.router,
    api.router,
    static_files.router,
)


def create_app() -> FastAPI:
    # FastAPI's own openapi.json and docs would be open to anybody: api.py has a guarded one.
    app = FastAPI(
        title="Batch scoring",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(guard)],
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router)
    add_handlers(app)
    app.add_middleware(LockedDown)
    return app
