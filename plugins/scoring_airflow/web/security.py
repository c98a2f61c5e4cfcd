"""Who may see and do what: every route asks Airflow's auth manager, and every answer is locked down.

Airflow does not protect the routes of a plugin. ``guard`` is a dependency of the whole app, so that
no route can be added without it. What a user may not read does not exist for that user.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.configuration import conf
from airflow.models import DagModel
from fastapi import Depends, HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scoring_airflow.stored_dags import StoredJob, is_stored, stored_jobs

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NOT_KEPT = "no-store, private"


def guard(request: Request, user: Annotated[Any, Depends(get_user)]) -> None:
    """Let known users pass; of requests that change something, only those of our own pages.

    A browser sends its user's cookie along with what another site makes it post. It never sends a
    bearer token unless a page of ours asks for that.
    """
    if request.method in _SAFE_METHODS:
        return
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")
    by_token = request.headers.get("authorization", "").lower().startswith("bearer ")
    if not by_token and not _is_same_origin(request):
        raise HTTPException(403, "this request comes from another site")


def _is_same_origin(request: Request) -> bool:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site is not None
    found, ours = urlsplit(origin), urlsplit(conf.get("api", "base_url", fallback="") or "")
    return found.netloc in (request.headers.get("host"), ours.netloc) and bool(found.netloc)


def readable_jobs(user: GetUserDep) -> list[StoredJob]:
    """Return the jobs whose Dags the user may read, by name."""
    return stored_jobs(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def readable_job(job: str, user: GetUserDep) -> StoredJob:
    """Return the job that the path names; 404 as well where it exists, but not for this user."""
    if _may(user, "GET", job, DagModel.get_team_name(job)):
        for found in stored_jobs([job]):
            return found
    raise HTTPException(404, f"There is no job {job} that you may read.")


def readable_dag(dag_id: str, user: GetUserDep) -> str:
    """Return the id of a Dag, be it that of a job or not; 404 as well where it exists, but not for
    this user.
    """
    if _may(user, "GET", dag_id, DagModel.get_team_name(dag_id)) and is_stored(dag_id):
        return dag_id
    raise HTTPException(404, f"There is no Dag {dag_id} that you may read.")


def may_read_code(user: Any, job: StoredJob) -> bool:
    """Return whether the user may see the job file: Airflow asks the same of a Dag's code."""
    team = DagModel.get_team_name(job.dag_id)
    return _may(user, "GET", job.dag_id, team, DagAccessEntity.CODE)


def writable_job(job: str, user: GetUserDep) -> StoredJob:
    """Return the job that the path names, for a user who may also make runs of it; else 404 or 403."""
    found = readable_job(job, user)
    if not backfillable(user, [found]):
        raise HTTPException(403, f"You may read {job}, but not run it.")
    return found


def backfillable(user: Any, jobs: Iterable[StoredJob]) -> set[str]:
    """Return the names of those of ``jobs`` for which the user may create a backfill."""
    names = [job.dag_id for job in jobs]
    teams = DagModel.get_dag_id_to_team_name_mapping(names) if names else {}
    return {n for n in names if _may(user, "POST", n, teams.get(n), DagAccessEntity.RUN)}


def _may(
    user: Any,
    method: Literal["GET", "POST"],
    dag_id: str,
    team: str | None,
    entity: DagAccessEntity | None = None,
) -> bool:
    details = DagDetails(id=dag_id, team_name=team)
    return bool(
        get_auth_manager().is_authorized_dag(
            method=method, access_entity=entity, details=details, user=user
        )
    )


ReadableJobs = Annotated[list[StoredJob], Depends(readable_jobs)]
ReadableJob = Annotated[StoredJob, Depends(readable_job)]
ReadableDag = Annotated[str, Depends(readable_dag)]
WritableJob = Annotated[StoredJob, Depends(writable_job)]
User = GetUserDep


def lock_down(headers: MutableHeaders) -> None:
    """Say what a browser is to refuse; nothing is kept that does not say so itself."""
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", _NOT_KEPT)
    headers.add_vary_header("Cookie")


class LockedDown:
    """Locks every answer down."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                lock_down(MutableHeaders(scope=message))
            await send(message)

        await self.app(scope, receive, send_with_headers)
