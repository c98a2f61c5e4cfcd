"""A scoring service of a test: it answers with what a month was published with, or otherwise as the test says.

It knows nothing of models. What ``parity`` makes of wrong answers, and of a service that refuses, is
shown with it; that the true service answers right is shown with that one.
"""

from __future__ import annotations

import csv
import io
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from scoring.pipeline.context import PartitionContext
from tests.scoring.factories import predictions, quarantine

ARROW = "application/vnd.apache.arrow.stream"
ADDED = {"model_version", "partition"}
Row = dict[str, Any]


class SmallService:
    """Answers requests at ``url``; a test sets what differs.

    ``change`` is given the list of answered rows of each request and may change it. ``refusals`` are
    sent first, one for each request: status, headers, and the text of the problem.
    """

    def __init__(self, run: PartitionContext) -> None:
        manifest = run.publisher.published(run.partition)
        assert manifest is not None
        job = run.job
        self.model = {
            "model_version": manifest.model.version,
            "model_sha256": manifest.model.sha256,
        }
        self.types = predictions(manifest).schema
        self.ids = job.id_columns
        self.answers: dict[tuple[Any, ...], Row] = {}
        for row in predictions(manifest).to_pylist():
            shown = {name: value for name, value in row.items() if name not in ADDED}
            self.answers[self.key(shown)] = {"status": "scored", **shown}
        if manifest.quarantine:
            for row in quarantine(manifest).to_pylist():
                why = {name: row[name] for name in ("reason", "column", "value")}
                ids = {name: row[name] for name in self.ids}
                self.answers.setdefault(self.key(row), {"status": "quarantined", **ids, **why})
        self.left_out: Callable[[Row], str | None] = lambda row: None
        self.change: Callable[[list[Row]], list[Row]] = lambda rows: rows
        self.refusals: list[tuple[int, dict[str, str], str]] = []
        self.requests: list[tuple[str, dict[str, str], str, dict[str, str]]] = []
        self.rows_of_requests: list[int] = []
        self.url = ""

    def key(self, row: Row) -> tuple[Any, ...]:
        return tuple(str(row[name]) for name in self.ids)

    def answer(self, asked: list[Row]) -> list[Row]:
        found = []
        for number, row in enumerate(asked, 1):
            if reason := self.left_out(row):
                ids = {name: row[name] for name in self.ids}
                found.append({"row": number, "status": "left_out", **ids, "reason": reason})
            else:
                found.append({"row": number, **self.answers[self.key(row)]})
        return self.change(found)

    def respond(self, content_type: str, data: bytes) -> tuple[str, bytes]:
        if content_type == ARROW:
            asked = pa.ipc.open_stream(data).read_all().to_pylist()
        elif content_type == "text/csv":
            asked = list(csv.DictReader(io.StringIO(data.decode())))
        else:
            asked = json.loads(data)
        self.rows_of_requests.append(len(asked))
        rows = self.answer(asked)
        if content_type == ARROW:
            return ARROW, self.as_arrow(rows)
        return "application/json", json.dumps(
            {**self.model, "rows": rows}, default=as_json
        ).encode()

    def as_arrow(self, rows: list[Row]) -> bytes:
        kinds = {field.name: field.type for field in self.types if field.name not in ADDED}
        kinds |= {"row": pa.int64()}
        kinds |= dict.fromkeys(("status", "reason", "column", "value", *self.model), pa.string())
        columns = {
            name: pa.array([{**row, **self.model}.get(name) for row in rows], kind)
            for name, kind in kinds.items()
        }
        sink = pa.BufferOutputStream()
        table = pa.table(columns)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()


def as_json(value: Any) -> Any:
    """A value as the service writes it: moments and dates in ISO 8601, bytes in hexadecimal."""
    return value.hex() if isinstance(value, bytes) else value.isoformat()


def finite(row: Row) -> Row:
    """The row with numbers that are not finite as texts."""
    texts = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return {
        name: texts[str(value)] if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


@contextmanager
def serving(service: SmallService) -> Iterator[SmallService]:
    """Runs the service on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            parts = urlsplit(self.path)
            parameters = {name: value[0] for name, value in parse_qs(parts.query).items()}
            kind = self.headers["Content-Type"]
            service.requests.append((parts.path, parameters, kind, dict(self.headers)))
            if service.refusals:
                status, headers, detail = service.refusals.pop(0)
                problem = {"title": "Refused", "status": status, "detail": detail}
                self.send(status, "application/problem+json", json.dumps(problem).encode(), headers)
                return
            self.send(200, *service.respond(kind, data), {})

        def send(self, status: int, kind: str, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
