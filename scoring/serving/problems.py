"""Errors as answers: problem details for HTTP (RFC 9457)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from scoring.errors import (
    ContractError,
    JobError,
    ModelError,
    PartitionError,
    ScorerError,
    ScoringError,
    SourceError,
)
from scoring.serving.batching import BusyError
from scoring.serving.bodies import BodyError
from scoring.serving.jobs import NotServedError

TYPE = "application/problem+json"

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[ScoringError], int], ...] = (
    (NotServedError, 404),
    (BodyError, 400),
    (PartitionError, 400),
    (ContractError, 400),
    (SourceError, 400),
    (ModelError, 404),
    (JobError, 500),
    (ScorerError, 500),
)
"""The first class that fits decides; a model version that a job does not have is not found."""


class RefusedError(Exception):
    """A request that is answered with ``status`` and ``detail``, and nothing else."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer of ``status`` that says in ``detail`` what is wrong."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(body), status, dict(headers or {}), media_type=TYPE)


def answer_to(error: Exception, job: str) -> Response:
    """Return what a request is answered that ended in ``error``."""
    if isinstance(error, RefusedError):
        return problem(error.status, error.detail, error.headers)
    if isinstance(error, BusyError):
        seconds = error.after_seconds
        return problem(503, "too many rows are waiting; try again", {"Retry-After": str(seconds)})
    if isinstance(error, TimeoutError):
        return problem(503, "no answer in time; try again", {"Retry-After": "1"})
    if isinstance(error, ScoringError):
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        if status == 500:
            log.error("%s: %s", job, error)
        return problem(status, str(error))
    log.error("%s: a request failed", job, exc_info=error)
    return problem(500, "the service failed; its log says why")
