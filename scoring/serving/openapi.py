"""The OpenAPI document of a service: its routes, with the rows of the jobs that are served now."""

from __future__ import annotations

from typing import Any

from scoring import __version__
from scoring.serving.bodies import ARROW, CSV, JSON
from scoring.serving.jobs import Jobs
from scoring.serving.problems import TYPE
from scoring.serving.schema import ANSWER, PROBLEM, row_schema


def document(jobs: Jobs, secured: bool) -> dict[str, Any]:
    """Return the OpenAPI document; ``secured``: a bearer token is asked for."""
    paths: dict[str, Any] = {
        "/healthz": {"get": _get("healthz", "the process is alive", auth=False)},
        "/readyz": {
            "get": _get("readyz", "all jobs are served", auth=False)
            | {"responses": {"200": _json("ready"), "503": _json("a job cannot be served")}}
        },
        "/metrics": {"get": _get("metrics", "what was counted, for Prometheus")},
        "/v1/jobs": {"get": _get("jobs", "the jobs that are served")},
    }
    for served in jobs:
        name = served.name
        paths[f"/v1/jobs/{name}"] = {"get": _get(f"about_{name}", "a job, its rows and outputs")}
        row = row_schema(served.in_force)
        paths[f"/v1/jobs/{name}/predict"] = {
            "post": {
                "operationId": f"predict_{name}",
                "summary": served.job_file.job.description or f"predictions of {name}",
                "parameters": [
                    _query("version", "a model version of the job; by default the one in force"),
                    _query("as_of", "a partition, such as 2013-05: score as it was scored"),
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        JSON: {"schema": {"oneOf": [row, {"type": "array", "items": row}]}},
                        ARROW: {"schema": {"type": "string", "format": "binary"}},
                        CSV: {"schema": {"type": "string"}},
                    },
                },
                "responses": {
                    "200": _json("an answer for each row, in order", ANSWER),
                    "422": _json("no row could be scored", ANSWER),
                    **{
                        code: _problem(text)
                        for code, text in {
                            "400": "the body cannot be read as rows of the job",
                            "404": "the job has no such version or partition",
                            "408": "the body did not arrive in time",
                            "413": "too many rows or bytes",
                            "415": "a content type that is not read",
                            "503": "busy; Retry-After says when to try again",
                        }.items()
                    },
                },
            }
        }
    for path in paths.values():
        for operation in path.values():
            if operation.pop("open", False):
                operation["security"] = []
            elif secured:
                operation["responses"]["401"] = _problem("no token, or one that is not known")
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Scoring service", "version": __version__},
        "paths": paths,
    }
    if secured:
        found["components"] = {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}
        found["security"] = [{"bearer": []}]
    return found


def _get(name: str, summary: str, auth: bool = True) -> dict[str, Any]:
    answer = {"200": {"description": summary}}
    return {"operationId": name, "summary": summary, "responses": answer, "open": not auth}


def _json(description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {JSON: {"schema": schema or {"type": "object"}}}
    if schema is not None:
        content[ARROW] = {"schema": {"type": "string", "format": "binary"}}
    return {"description": description, "content": content}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {TYPE: {"schema": PROBLEM}}}


def _query(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}
