"""What somebody sees who may not see a page, or where there is none."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException

from scoring_airflow.web import urls
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import lock_down

_NOT_PAGES = ("/api/", "/static/")
_INVALID_TOKEN = "Invalid JWT token"
"""What Airflow says, with 403, of a session that another secret has signed."""


def add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _of_status)
    app.add_exception_handler(RequestValidationError, _of_address)
    app.add_exception_handler(Exception, _unexpected)


def _of_status(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if not _is_page(request):
        return JSONResponse({"detail": error.detail}, error.status_code)
    if error.status_code == 401 or error.detail == _INVALID_TOKEN:
        path = urls.page(_path(request))
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(urls.login(path + query), 303)
    return html("error.html", error.status_code, code=error.status_code, detail=error.detail)


def _of_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    detail = f"{first['loc'][-1]}: {first['msg']}"
    if not _is_page(request):
        return JSONResponse({"detail": detail}, 422)
    return html("error.html", 422, code=422, detail=detail)


def _unexpected(request: Request, error: Exception) -> Response:
    detail = "Something unexpected went wrong. The log of Airflow's API server has it."
    if _is_page(request):
        answer = html("error.html", 500, code=500, detail=detail)
    else:
        answer = JSONResponse({"detail": detail}, 500)
    lock_down(answer.headers)  # Starlette answers this outside of all middleware
    return answer


def _is_page(request: Request) -> bool:
    return request.method in ("GET", "HEAD") and not _path(request).startswith(_NOT_PAGES)


def _path(request: Request) -> str:
    """Return the path within the app, however Airflow is mounted."""
    root, path = request.scope.get("root_path", ""), request.scope["path"]
    return str(path.removeprefix(root)) or "/"
