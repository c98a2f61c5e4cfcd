"""The client of a scoring service: one request of rows at a time, with patience where it is busy."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from scoring.errors import ServiceError, needs_extra, quoted

if TYPE_CHECKING:
    import httpx

PATIENCE_SECONDS = 120.0
"""How long one request waits in all for a service that answers 503."""
_LONGEST_WAIT = 30.0
_TIMEOUT_SECONDS = 300.0
_DETAIL_CHARACTERS = 500
_BUSY = 503
_ANSWERS = (200, 422)
"""422 has the rows, too: all of them are quarantined."""


@dataclass(frozen=True)
class Body:
    """The rows of a request, or of its answer, as they are sent."""

    content_type: str
    data: bytes


class Client:
    """Asks the service at ``url`` for the predictions of one job; for use in several threads.

    ``token`` is sent with each request. Raises ServiceError, which says what to do, where the
    service is not there, refuses the request or fails.
    """

    def __init__(self, url: str, job: str, token: str | None, connections: int) -> None:
        with needs_extra("serve", "requests to a service"):
            import httpx

        self.url, self.job = url.rstrip("/"), job
        self._errors = httpx.TransportError
        self._stopped = threading.Event()
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=10.0),
            limits=httpx.Limits(max_connections=connections),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def predict(self, body: Body, parameters: dict[str, str]) -> Body:
        """Return the answer to the rows in ``body``, with the query ``parameters``."""
        waited, lost = 0.0, 0
        while True:
            try:
                answer = self._client.post(
                    f"{self.url}/v1/jobs/{self.job}/predict",
                    params=parameters,
                    content=body.data,
                    headers={"Content-Type": body.content_type, "Accept": _accepted(body)},
                )
            except self._errors as error:
                lost += 1
                if lost > 1:  # a connection that was idle may be closed, so once more
                    raise self._unreachable(error) from None
                continue
            if answer.status_code in _ANSWERS and not _is_problem(answer):
                return Body(_content_type(answer), answer.content)
            if answer.status_code != _BUSY:
                raise self._refused(answer)
            wait = _wait(answer)
            if waited + wait > PATIENCE_SECONDS:
                raise ServiceError(
                    f"{self.url} is too busy: it has answered 503 for {waited:.0f} seconds"
                    f"{_detail(answer)}. Ask with fewer --connections, or later"
                )
            self._pause(wait)
            waited += wait

    def stop(self) -> None:
        """End the patience of requests that wait for a busy service: nobody needs the answers."""
        self._stopped.set()

    def _pause(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise ServiceError(f"{self.url} was busy when the comparison ended")

    def _unreachable(self, error: Exception) -> ServiceError:
        why = str(error) or type(error).__name__
        return ServiceError(
            f"{self.url} cannot be reached: {quoted(why, _DETAIL_CHARACTERS)}. Start the service, or "
            "correct --url"
        )

    def _refused(self, answer: httpx.Response) -> ServiceError:
        """Return the error for an answer without rows."""
        advice = {
            401: "Give the service's token in a file, by --token-file",
            403: "Give a token that may use this job, by --token-file",
            404: f"Start the service with {self.job} and the model that was published with, or correct "
            "--url",
            413: "Ask with fewer --rows-per-request",
        }
        what = {
            401: "does not accept the request without its token",
            403: "does not allow the request",
            404: f"does not have what {self.job} was published with",
            413: "does not take so many rows at once",
        }
        status = answer.status_code
        says = what.get(status, f"answered with the status {status}")
        failed = status >= 500
        general = "The service's log says why" if failed else "Nothing was compared"
        return ServiceError(f"{self.url} {says}{_detail(answer)}. {advice.get(status, general)}")


def _accepted(body: Body) -> str:
    is_arrow = "arrow" in body.content_type
    return body.content_type if is_arrow else "application/json"


def _content_type(answer: httpx.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _is_problem(answer: httpx.Response) -> bool:
    return _content_type(answer) == "application/problem+json"


def _detail(answer: httpx.Response) -> str:
    """Return what the service says of a problem, after a colon; nothing where it says nothing."""
    try:
        found: Any = json.loads(answer.content)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    text = found.get("detail") or found.get("title")
    return f": {quoted(str(text), _DETAIL_CHARACTERS).rstrip('.')}" if text else ""


def _wait(answer: httpx.Response) -> float:
    """Return how many seconds the service asks to wait for."""
    asked = str(answer.headers.get("Retry-After", ""))
    seconds = float(asked) if asked.isdecimal() else 1.0
    return min(max(seconds, 0.1), _LONGEST_WAIT)
