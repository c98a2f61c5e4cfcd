"""The web service: its routes.

::

    POST /v1/jobs/JOB/predict     predictions for one row or several
    GET  /v1/jobs, /v1/jobs/JOB   what is served, what a row has to have, which version is in force
    …    /v2/…                    the same as KServe's Open Inference Protocol (kserve)
    GET  /healthz, /readyz        probes, open to all
    GET  /metrics, /openapi.json
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scoring.errors import ScoringError
from scoring.serving import kserve, metrics
from scoring.serving.guard import Guard
from scoring.serving.jobs import Jobs, NotServedError
from scoring.serving.openapi import document
from scoring.serving.predict import Predictor
from scoring.serving.problems import answer_to, problem
from scoring.serving.request_log import RequestLog
from scoring.serving.schema import about
from scoring.serving.settings import Settings

log = logging.getLogger(__name__)


def create_app(settings: Settings, jobs: Jobs | None = None, parent: int | None = None) -> FastAPI:
    """Return the service.  ``jobs`` are loaded already; None means that it loads them itself.

    It ends with the process ``parent``, where one is named.
    """
    served = jobs or Jobs(settings)
    request_log = RequestLog(settings) if settings.log is not None else None
    predictor = Predictor(served, settings, request_log.add if request_log else None)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if jobs is None:
            try:
                await asyncio.to_thread(served.load)
            except ScoringError as error:
                log.error("%s", error)
                raise
        watch = asyncio.create_task(_watch(served, predictor, settings, parent))
        writing = asyncio.create_task(request_log.run()) if request_log else None
        yield
        watch.cancel()
        predictor.close()
        if request_log and writing:
            writing.cancel()
            await asyncio.to_thread(request_log.flush)

    # FastAPI's own documents would describe handlers that read their bodies themselves.
    app = FastAPI(
        title="Scoring service", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )

    @app.post("/v1/jobs/{name}/predict")
    async def predict(request: Request, name: str) -> Response:
        return await predictor(request, name)

    @app.get("/v1/jobs")
    async def list_jobs() -> Response:
        return JSONResponse({"jobs": [dataclasses.asdict(state) for state in served.states()]})

    @app.get("/v1/jobs/{name}")
    async def about_job(name: str) -> Response:
        return JSONResponse(about(served[name]))

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz")
    async def readyz(request: Request) -> Response:
        found: dict[str, Any] = {"status": "ready" if served.ready else "not ready"}
        if settings.tokens is None or getattr(request.state, "known", False):
            found["jobs"] = [dataclasses.asdict(state) for state in served.states()]
        return JSONResponse(found, 200 if served.ready else 503)

    @app.get("/metrics")
    async def get_metrics() -> Response:
        return Response(metrics.exposition(), media_type=metrics.TYPE)

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(document(served, settings.tokens is not None))

    @app.exception_handler(NotServedError)
    async def not_served(request: Request, error: Exception) -> Response:
        return answer_to(error, "unknown")

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def no_route(request: Request, error: Any) -> Response:
        return problem(error.status_code, f"{request.method} {request.url.path}", error.headers)

    app.include_router(kserve.router(served, predictor))
    app.add_middleware(Guard, tokens=settings.tokens)
    return app


async def _watch(jobs: Jobs, predictor: Predictor, settings: Settings, parent: int | None) -> None:
    """Look for changed jobs and models every few seconds; end with the process ``parent``."""
    gauges = metrics.Gauges()
    while True:
        gauges.set(jobs.states(), predictor.rows_waiting())
        await asyncio.sleep(settings.watch_seconds)
        if parent is not None and os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.to_thread(jobs.refresh)
        except Exception:
            log.exception("the jobs could not be looked at; what was loaded goes on serving")
