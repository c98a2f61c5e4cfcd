"""The load of `python -m benchmarks serving`, against real HTTP servers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load import ask, closed_loop, get, open_loop, percentile, post


class Site(ThreadingHTTPServer):
    """Answers a POST with its body; ``bodies`` and ``connections`` count what arrived."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port: int = self.server_address[1]
        self.bodies: Counter[bytes] = Counter()
        self.connections = 0
        self.busy = threading.Lock()
        self.seconds = 0.0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Site

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.busy:
            self.server.bodies[body] += 1
            time.sleep(self.server.seconds)
        if self.path == "/cut":
            self.close_connection = True
            return
        self.send_response(503 if body == b"fail" else 200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (body[:1], body[1:]):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_an_answer_is_read_to_its_end(site: Site, path: str) -> None:
    request = post(path, site.port, b"[1, 2]")
    assert asyncio.run(ask(site.port, request)) == (200, b"[1, 2]")


def test_an_answer_of_unknown_length_is_refused(site: Site) -> None:
    with pytest.raises(ValueError, match="without a length"):
        asyncio.run(ask(site.port, get("/", site.port)))


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_a_closed_loop_keeps_its_connections_and_sends_all_requests_by_turns(
    site: Site, path: str
) -> None:
    requests = [post(path, site.port, body) for body in (b"one", b"two")]
    load = asyncio.run(closed_loop(site.port, requests, 4, 100))
    assert (site.bodies, site.connections) == ({b"one": 50, b"two": 50}, 4)
    assert len(load.answers) == 100
    assert load.requests_per_second == pytest.approx(100 / load.wall_seconds)
    assert 0 < load.percentile_ms(50) <= load.percentile_ms(99) < load.wall_seconds * 1000
    load.check("the site")


def test_an_answer_other_than_200_is_a_failure(site: Site) -> None:
    requests = [post("/", site.port, body) for body in (b"good", b"fail")]
    load = asyncio.run(closed_loop(site.port, requests, 2, 10))
    assert (len(load.answers), load.failures) == (5, ["503 fail"] * 5)
    with pytest.raises(SystemExit, match=r"the site: 5 of 10 requests failed, .*: 503 fail"):
        load.check("the site")


def test_a_connection_that_ends_is_a_failure_and_the_next_request_has_another(site: Site) -> None:
    requests = [post(path, site.port, b"body") for path in ("/cut", "/")]
    load = asyncio.run(closed_loop(site.port, requests, 1, 4))
    assert (len(load.answers), len(load.failures), site.connections) == (2, 2, 3)


def test_a_server_that_does_not_run_is_a_failure_of_each_request() -> None:
    with Site() as server:
        port = server.port
    load = asyncio.run(closed_loop(port, [b""], 2, 6))
    assert len(load.failures) == 6


def test_an_open_loop_sends_at_its_rate(site: Site) -> None:
    load = asyncio.run(open_loop(site.port, [post("/", site.port, b"x")], 4, 100, 0.5))
    load.check("the site")
    assert len(load.answers) == 50
    assert load.wall_seconds > 0.48


def test_an_open_loop_counts_the_wait_for_a_slow_server(site: Site) -> None:
    site.seconds = 0.02  # of which it can answer 50 a second
    load = asyncio.run(open_loop(site.port, [post("/", site.port, b"x")], 4, 100, 0.4))
    assert len(load.answers) == 40
    assert load.percentile_ms(99) > 300  # the last one is due after 0.39 s, and ends after 0.8 s


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (90, 9), (99, 10), (100, 10), (1, 1)])
def test_percentiles_are_values_that_occurred(percent: float, value: float) -> None:
    assert percentile([*range(10, 0, -1)], percent) == value
