"""A request on its way through: body, rows, the model, the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from scoring.serving import metrics
from scoring.serving.answers import arrow_body, json_body, refused_all
from scoring.serving.batching import Batcher
from scoring.serving.bodies import (
    ARROW,
    CSV,
    JSON,
    Row,
    Rows,
    rows_of_arrow,
    rows_of_csv,
    rows_of_json,
    table_of_json,
)
from scoring.serving.columns import RequestColumns
from scoring.serving.jobs import Jobs
from scoring.serving.problems import RefusedError, answer_to
from scoring.serving.scorer import Answers, RequestScorer
from scoring.serving.settings import Settings

_READ: dict[str, Callable[[bytes, RequestColumns], Sequence[Row] | Rows]] = {
    JSON: rows_of_json,
    ARROW: rows_of_arrow,
    CSV: rows_of_csv,
}
_LARGE_BYTES = 64 << 10
"""Smaller bodies are read faster than a thread is woken."""

Encode = Callable[[RequestScorer, Rows, Answers], bytes]
OnAnswers = Callable[[RequestScorer, Rows, Answers], None]


@dataclass(frozen=True)
class Asked:
    """A request whose body was read: rows as JSON has them, or a table, and how it is answered."""

    scorer: RequestScorer
    rows: Sequence[Row] | Rows
    encode: Encode

    @property
    def count(self) -> int:
        return self.rows.table.num_rows if isinstance(self.rows, Rows) else len(self.rows)

    @property
    def kind(self) -> object:
        """What requests have in common that may be scored together."""
        return id(self.scorer) if not isinstance(self.rows, Rows) else id(self)


@dataclass(frozen=True)
class Answered:
    """The body of an answer; ``all_refused``: no row got further than the quarantine."""

    body: bytes
    all_refused: bool


class Predictor:
    """Answers the requests for predictions of all jobs.

    ``on_answers`` is called with the rows and answers of each request, in a thread.
    """

    def __init__(self, jobs: Jobs, settings: Settings, on_answers: OnAnswers | None) -> None:
        self._jobs = jobs
        self._settings = settings
        self._on_answers = on_answers
        self._batchers: dict[str, Batcher[Asked, Answered]] = {}

    async def __call__(self, request: Request, name: str) -> Response:
        """Return the answer to a request for predictions of the job ``name``."""
        return await self.counted(name, self._respond(request, name))

    async def counted(self, name: str, answer: Awaitable[Response]) -> Response:
        """Return ``answer`` to a request for the job ``name``, or what its error is answered with;
        count it.
        """
        started = time.perf_counter()
        try:
            response = await answer
        except Exception as error:  # noqa: BLE001 - each has an answer
            response = answer_to(error, name)
        known = name if name in self._batchers else "unknown"
        metrics.REQUESTS.labels(known, str(response.status_code)).inc()
        metrics.SECONDS.labels(known).observe(time.perf_counter() - started)
        return response

    async def _respond(self, request: Request, name: str) -> Response:
        self._jobs[name]  # before a body is read for nothing
        media = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media not in (JSON, ARROW, CSV):
            raise RefusedError(415, f"{media} is not read; send {JSON}, {ARROW} or {CSV}")
        as_arrow = wants_arrow(request.headers.get("accept", ""), media)
        body = await self.body(request)
        version, as_of = (request.query_params.get(key) for key in ("version", "as_of"))
        scorer = await self.scorer(name, version, as_of)
        if len(body) > _LARGE_BYTES:
            rows = await asyncio.to_thread(_READ[media], body, scorer.columns)
        else:
            rows = _READ[media](body, scorer.columns)
        answered = await self.ask(Asked(scorer, rows, arrow_body if as_arrow else json_body))
        status = 422 if answered.all_refused else 200
        return Response(answered.body, status, media_type=ARROW if as_arrow else JSON)

    async def scorer(self, name: str, version: str | None, as_of: str | None) -> RequestScorer:
        """Return what answers requests for the job ``name``; see ``ServedJob.scorer``."""
        served = self._jobs[name]
        if version is None and as_of is None:
            return served.in_force
        return await asyncio.to_thread(served.scorer, version, as_of)  # a model may be loaded

    async def ask(self, asked: Asked) -> Answered:
        """Return the answer to what was read, when its turn comes.

        Raises ScoringError, BusyError, TimeoutError and RefusedError.
        """
        name, limit = asked.scorer.job.name, self._settings.max_rows
        if asked.count > limit:
            raise RefusedError(
                413, f"{asked.count:,} rows; a request may have {limit:,} (--max-rows)"
            )
        batcher = self._batcher(name)
        async with asyncio.timeout(self._settings.timeout_seconds):
            return await batcher.submit(asked, asked.count, asked.kind)

    async def body(self, request: Request) -> bytes:
        """Return the body of ``request``; RefusedError where it is too large or comes too slowly."""
        limit = self._settings.max_body_bytes
        too_large = RefusedError(
            413,
            f"the body has more than {limit:,} bytes (--max-body-mb)",
            {"Connection": "close"},
        )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise too_large
                    parts.append(part)
        except TimeoutError:
            raise RefusedError(
                408, "the body did not arrive in time", {"Connection": "close"}
            ) from None
        return b"".join(parts)

    def rows_waiting(self) -> dict[str, int]:
        """Return how many rows wait, by job."""
        return {name: batcher.rows_waiting for name, batcher in self._batchers.items()}

    def close(self) -> None:
        for batcher in self._batchers.values():
            batcher.close()

    def _batcher(self, name: str) -> Batcher[Asked, Answered]:
        if name not in self._batchers:
            settings = self._settings
            self._batchers[name] = Batcher(
                self._score, settings.max_batch, settings.max_wait_ms / 1000, settings.max_queue
            )
        return self._batchers[name]

    def _score(self, batch: Sequence[Asked]) -> list[Answered | Exception]:
        """Return an answer or an exception for each request of ``batch``."""
        if len(batch) > 1:
            try:
                return list(self._scored_together(batch))
            except Exception:  # noqa: BLE001 - of one of them, which gets it below
                pass
        found: list[Answered | Exception] = []
        for asked in batch:
            try:
                found += self._scored_together([asked])
            except Exception as error:  # noqa: BLE001 - the one who asked raises it
                found.append(error)
        return found

    def _scored_together(self, batch: Sequence[Asked]) -> list[Answered]:
        scorer = batch[0].scorer
        if isinstance(batch[0].rows, Rows):
            rows = batch[0].rows
        else:
            given = [
                row for asked in batch if not isinstance(asked.rows, Rows) for row in asked.rows
            ]
            rows = table_of_json(given, scorer.columns, scorer.job)
        answers = scorer.score(rows)
        metrics.BATCH_ROWS.labels(scorer.job.name).observe(answers.count)
        found, start = [], 0
        parts = answers.split([asked.count for asked in batch]) if len(batch) > 1 else [answers]
        for asked, part in zip(batch, parts, strict=True):
            own = rows if len(batch) == 1 else rows.slice(start, asked.count)
            start += asked.count
            self._count(scorer, part)
            if self._on_answers is not None:
                self._on_answers(scorer, own, part)
            found.append(Answered(asked.encode(scorer, own, part), refused_all(part)))
        return found

    def _count(self, scorer: RequestScorer, answers: Answers) -> None:
        counts = {"scored": len(answers.rows)}
        for refused in answers.refused.values():
            counts[refused.status] = counts.get(refused.status, 0) + 1
        for status, count in counts.items():
            metrics.ROWS.labels(scorer.job.name, scorer.file.version, status).inc(count)


def wants_arrow(accept: str, media: str) -> bool:
    """Return whether the answer is an Arrow stream: as asked for, else as the request came."""
    accepted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if ARROW in accepted:
        return True
    return media == ARROW and JSON not in accepted
