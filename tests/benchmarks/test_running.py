"""The servers of `python -m benchmarks serving` as processes, and what is read from their memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.running import free_port, running
from benchmarks.serving import growth

SITE = """
import os, subprocess, sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
assert len(os.sched_getaffinity(0)) == 1 and os.environ["OMP_NUM_THREADS"] == "1"
print("child", subprocess.Popen(["sleep", "600"]).pid, flush=True)
class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-c", SITE, str(port)]
    with running(command, port, "/", {}, log, 0) as found:
        processes = [found.process, *found.process.children()]
        memory = found.memory_mb()
        assert len(memory) == len(processes) == 2
        assert memory[0] > memory[1] > 0
    assert not any(process.is_running() for process in processes)


def test_a_server_that_ends_at_once_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model')"]
    refused = pytest.raises(SystemExit, match="no model")
    with refused, running(command, free_port(), "/", {}, tmp_path / "log", 0):
        pytest.fail("it runs")


@pytest.mark.parametrize(
    ("sizes", "ratio"), [([100.0] * 9, 1.0), ([100.0, 100, 100, 104, 106, 106], 1.06), ([5.0], 1.0)]
)
def test_growth_is_that_of_the_last_third_beside_the_first(
    sizes: list[float], ratio: float
) -> None:
    assert growth(sizes) == pytest.approx(ratio)
