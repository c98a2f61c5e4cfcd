"""The guard in front of all routes: a bearer token, but for the probes."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from scoring.serving.auth import is_known
from scoring.serving.problems import problem

OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""What a probe asks that has no token; it is answered without any detail."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""What only this machine reaches."""

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Guard:
    """Answers 401 in place of ``app`` where a request has none of ``tokens`` (None: all may ask)."""

    def __init__(self, app: ASGIApp, tokens: frozenset[str] | None) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._tokens is not None:
            known = is_known(_authorization(scope), self._tokens)
            scope.setdefault("state", {})["known"] = known
            if not known and scope["path"] not in OPEN:
                refusal = problem(
                    401,
                    "send a token of this service: Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": "Bearer", "Connection": "close"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _authorization(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return found[0].decode("latin-1") if len(found) == 1 else None
