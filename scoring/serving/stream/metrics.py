"""The state of the consumer groups for Prometheus and for probes, on a port of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scoring.errors import StreamError, needs_extra
from scoring.serving.auth import is_known
from scoring.serving.guard import HEADERS, LOOPBACK
from scoring.serving.stream.status import OUTCOMES, StreamStatus

with needs_extra("stream", "metrics"):
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

log = logging.getLogger(__name__)


class StreamCollector:
    """Makes metrics of the statuses that it was given last."""

    def __init__(self) -> None:
        self.statuses: list[StreamStatus] = []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all groups."""
        messages = CounterMetricFamily(
            "scoring_stream_messages",
            "Messages by what became of them, once their results are acknowledged.",
            labels=["job", "group", "version", "outcome"],
        )
        lag = GaugeMetricFamily(
            "scoring_stream_lag",
            "Messages that are still to be scored, of the partitions that this process reads.",
            labels=["job", "group", "partition"],
        )
        lost = CounterMetricFamily(
            "scoring_stream_lost_messages",
            "Messages that the brokers deleted before they were scored.",
            labels=["job", "group"],
        )
        retries = CounterMetricFamily(
            "scoring_stream_retries", "Tries that did not get on.", labels=["job", "group"]
        )
        problem = GaugeMetricFamily(
            "scoring_stream_problem",
            "1 where messages wait, or the newest job file cannot be used.",
            labels=["job", "group"],
        )
        for status in self.statuses:
            group = [status.job, status.group]
            for version in {version for version, _ in [*status.of_versions]} or {
                status.version or ""
            }:
                for outcome in OUTCOMES:
                    labels = [*group, version, outcome]
                    messages.add_metric(labels, status.of_versions[version, outcome])
            for partition, count in list(status.lag.items()):
                lag.add_metric([*group, str(partition)], count)
            lost.add_metric(group, status.lost)
            retries.add_metric(group, status.retries)
            problem.add_metric(group, status.trouble is not None)
        yield from (messages, lag, lost, retries, problem)


@contextlib.contextmanager
def exposing(
    host: str, port: int | None, tokens: frozenset[str] | None, insecure: bool
) -> Iterator[Callable[[list[StreamStatus]], None]]:
    """Answer GET /metrics, /healthz and /readyz within the block; yields what takes the statuses.

    ``port`` None: nothing listens. ``tokens`` are digests of bearer tokens; None: anybody may ask, who
    reaches ``host``. Raises StreamError for an address that cannot or should not be listened on.
    """
    collector = StreamCollector()

    def take(statuses: list[StreamStatus]) -> None:
        collector.statuses = statuses

    if port is None:
        yield take
        return
    if tokens is None and host not in LOOPBACK and not insecure:
        raise StreamError(
            f"{host} can be reached from other machines, and nobody would be asked for a token; give "
            "--metrics-tokens FILE, or --insecure if something else lets only the right ones through"
        )
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server = ThreadingHTTPServer((host, port), _handler(collector, registry, tokens))
    except OSError as error:
        raise StreamError(f"{host}:{port} cannot be listened on: {error.strerror}") from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics at http://%s:%s/metrics", host, server.server_port)
    try:
        yield take
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(
    collector: StreamCollector, registry: CollectorRegistry, tokens: frozenset[str] | None
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version, server_version, sys_version = "HTTP/1.1", "scoring", ""
        timeout = 30

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(200, {"status": "alive"})
            elif self.path == "/readyz":
                ready = bool(collector.statuses) and all(s.running for s in collector.statuses)
                self._answer(200 if ready else 503, {"status": "ready" if ready else "not ready"})
            elif tokens is not None and not is_known(self.headers.get("Authorization"), tokens):
                self._answer(401, {"detail": "send a token: Authorization: Bearer TOKEN"})
            elif self.path == "/metrics":
                self._send(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            else:
                self._answer(404, {"detail": "there are /metrics, /healthz and /readyz"})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            self._send(status, json.dumps(body).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            headers = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}
            if status == 401:
                headers["WWW-Authenticate"] = "Bearer"
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
