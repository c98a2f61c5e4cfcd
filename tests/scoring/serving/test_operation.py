"""What an operator meets: tokens, limits, changes while it runs, several processes, the end."""

from __future__ import annotations

import concurrent.futures
import http.client
import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from tests.measured import module
from tests.scoring.factories import Place, linear
from tests.scoring.serving.conftest import ROOT, Service, Start

ROW = {"id": 1, "x": 1.0}
TOKEN = "0123456789abcdef-token"


def y(service: Service) -> float:
    return round(service.predict(ROW).json()["rows"][0]["y"], 9)


def serve(place: Place, *options: str) -> subprocess.CompletedProcess[str]:
    """The command where it should end at once."""
    command = module("scoring", "serve", "--jobs", str(place.folder))
    return subprocess.run(
        [*command, "--data", str(place.data), "--port", "0", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def secured(shared_place: Place, start_for_all: Start) -> Service:
    shared_place.job()
    file = shared_place.folder / "tokens"
    file.write_text(f"# one a line\n{TOKEN}\nanother-token-of-16-characters\n")
    return start_for_all(shared_place, "--tokens", str(file))


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong-token-0000000", f"Basic {TOKEN}", f"Bearer {TOKEN}x"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs/sample/predict"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/sample"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v2"),
        ("POST", "/v2/models/sample/infer"),
        ("GET", "/nothing"),
    ],
)
def test_without_a_known_token_nothing_is_answered(
    secured: Service, method: str, path: str, header: str | None
):
    headers = {} if header is None else {"authorization": header}
    answer = secured.client.request(method, path, json=ROW, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "sample" not in answer.text


def test_with_a_token_all_is_answered_and_a_probe_needs_none(secured: Service):
    known = {"authorization": f"Bearer {TOKEN}"}
    assert secured.predict(ROW, headers=known).status_code == 200
    assert secured.client.get("/metrics", headers=known).status_code == 200
    assert secured.client.get("/healthz").json() == {"status": "alive"}
    assert secured.client.get("/readyz").json() == {"status": "ready"}
    assert secured.client.get("/readyz", headers=known).json()["jobs"][0]["name"] == "sample"
    assert TOKEN not in secured.log.read_text()


def test_the_password_of_a_connection_is_a_token(place: Place, start: Start):
    place.job()
    connection = {"AIRFLOW_CONN_SERVICE": f"http://:{TOKEN}@host"}
    service = start(place, "--token-connection", "service", env=connection)
    assert service.predict(ROW).status_code == 401
    assert service.predict(ROW, headers={"authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no token; write one a line"),
        ("short\n", "has fewer than 16 characters"),
        (None, "cannot be read: No such file"),
    ],
)
def test_tokens_that_are_none_are_refused(place: Place, text: str | None, error: str):
    place.job()
    file = place.folder / "tokens"
    if text is not None:
        file.write_text(text)
    done = serve(place, "--tokens", str(file))
    assert (done.returncode, error in done.stderr) == (2, True)


def test_nobody_else_may_reach_a_service_without_tokens(place: Place, start: Start):
    place.job()
    done = serve(place, "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "give --tokens FILE, or --insecure" in done.stderr
    assert start(place, "--host", "0.0.0.0", "--insecure").predict(ROW).status_code == 200


def test_what_is_wrong_at_the_start_is_one_error(place: Place):
    place.job(
        model={
            "versions": [{"version": "v1", "uri": "{models}/no.skops", "in_force_from": "2013-02"}]
        }
    )
    done = serve(place)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place.job()
        done = serve(place, "--port", str(taken.getsockname()[1]))
    assert (done.returncode, "Address already in use" in done.stderr) == (2, True)
    (place.folder / "sample.yaml").write_text("name: sample\n")
    assert serve(place).returncode == 2


@pytest.mark.parametrize(("workers", "status"), [("1", 5), ("2", 1)])
def test_a_model_that_cannot_be_loaded_is_an_error_at_the_start(
    place: Place, workers: str, status: int
):
    place.job()
    (place.data / "models" / "v1.skops").write_bytes(b"PK\x03\x04 no model at all")
    done = serve(place, "--workers", workers)
    assert done.returncode == status
    assert "v1.skops" in done.stderr


def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(place: Place, start: Start):
    place.job()
    service = start(place, "--max-body-mb", "1")
    host, port = service.url.removeprefix("http://").split(":")
    before = psutil.Process(service.process.pid).memory_info().rss

    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.putrequest("POST", "/v1/jobs/sample/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    assert connection.getresponse().status == 413  # by its header alone
    connection.close()

    sent = 0
    with socket.create_connection((host, int(port)), timeout=60) as chunked:
        chunked.sendall(
            b"POST /v1/jobs/sample/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with suppress(OSError):  # it stops listening
            while sent < 1 << 30:
                chunked.sendall(piece)
                sent += 65536
        with suppress(OSError):
            assert b" 413 " in chunked.recv(64)
    assert sent < 64 << 20
    assert psutil.Process(service.process.pid).memory_info().rss - before < 64 << 20
    assert y(service) == 2.0


def test_too_many_rows_are_refused_and_a_full_queue_says_when_to_try_again(
    empty: Place, start: Start
):
    empty.scorer(
        "import pandas as pd, pathlib, time\n"
        "def run(df):\n"
        "    while pathlib.Path(__file__).with_name('wait').exists():\n"
        "        time.sleep(0.01)\n"
        "    return pd.DataFrame({'y': df['x']}, index=df.index)\n"
    )
    empty.job(model=None, scorer="scorer.py")
    service = start(empty, "--max-rows", "5", "--max-queue", "10")
    assert service.predict([ROW] * 6).status_code == 413
    (empty.folder / "wait").touch()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        first = pool.submit(service.predict, [ROW] * 5)
        service.wait(lambda: first.running())
        waiting = [pool.submit(service.predict, [ROW] * 5) for _ in range(8)]

        def refused() -> list[httpx.Response]:
            done = [future.result() for future in waiting if future.done()]
            return [answer for answer in done if answer.status_code == 503]

        service.wait(lambda: len(refused()) >= 4)
        assert refused()[0].headers["retry-after"] == "1"
        assert service.client.get("/healthz").status_code == 200
        (empty.folder / "wait").unlink()
        answers = [first.result(), *(future.result() for future in waiting)]
    assert {answer.status_code for answer in answers} == {200, 503}


def test_a_request_that_takes_too_long_is_answered_that_it_does(empty: Place, start: Start):
    empty.scorer(
        "import time\ndef run(df):\n    time.sleep(5)\n    return df.rename(columns={'x': 'y'})\n"
    )
    empty.job(model=None, scorer="scorer.py")
    service = start(empty, "--timeout-seconds", "1")
    answer = service.predict(ROW)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(
            b"POST /v1/jobs/sample/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
        )
        assert b" 408 " in slow.recv(64)


class Load:
    """Clients that ask all the time, and note what they are answered."""

    def __init__(self, service: Service, clients: int = 4) -> None:
        self.answers: list[tuple[int, float | None]] = []
        self._end = threading.Event()
        self._service = service
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=60) as client:
            while not self._end.is_set():
                answer = client.post("/v1/jobs/sample/predict", json=ROW)
                rows = answer.json().get("rows") if answer.status_code == 200 else None
                self.answers.append((answer.status_code, rows and round(rows[0]["y"], 6)))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self._service.wait(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *error: Any) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def await_value(self, value: float) -> None:
        self._service.wait(lambda: self.answers[-1][1] == value)


def test_a_model_a_job_and_a_version_change_under_load_without_a_failed_request(
    place: Place, start: Start
):
    place.job()
    service = start(place)
    with Load(service) as load:
        load.await_value(2.0)
        place.model(linear(3.0))  # other bytes under the same name
        load.await_value(3.0)
        place.model(linear(5.0), "v2.skops")
        versions = [
            {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
            {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-07"},
        ]
        place.job(model={"versions": versions})
        load.await_value(5.0)
    assert {status for status, _ in load.answers} == {200}
    assert {value for _, value in load.answers} == {2.0, 3.0, 5.0}


@pytest.mark.parametrize("broken", ["job", "model"])
def test_what_is_broken_leaves_the_old_one_serving_and_is_said(
    place: Place, start: Start, broken: str
):
    place.job()
    service = start(place)
    model, job = place.data / "models" / "v1.skops", place.folder / "sample.yaml"
    good = model.read_bytes(), job.read_bytes()
    with Load(service) as load:
        if broken == "job":
            job.write_text(job.read_text() + "inputz: {}\n")
        else:
            model.write_bytes(b"no model at all")

        def problem() -> str:
            return service.client.get("/readyz").json()["jobs"][0]["problem"] or ""

        service.wait(lambda: problem() != "")
        assert ("inputz" if broken == "job" else "v1.skops") in problem()
        assert service.client.get("/readyz").status_code == 200

        assert "what was loaded before goes on serving" in service.log.read_text()
        model.write_bytes(good[0])
        job.write_bytes(good[1])
        service.wait(lambda: problem() == "")
    assert set(load.answers) == {(200, 2.0)}


def test_a_job_that_is_added_appears_and_one_that_is_removed_goes(place: Place, start: Start):
    place.job()
    service = start(place)
    other = place.folder / "other.yaml"
    text = (place.folder / "sample.yaml").read_text().replace("name: sample", "name: other")
    other.write_text(text.replace("{data}/out", "{data}/out2"))
    service.wait(lambda: service.predict(ROW, job="other").status_code == 200)
    assert "/v1/jobs/other/predict" in service.client.get("/openapi.json").json()["paths"]
    other.unlink()
    service.wait(lambda: service.predict(ROW, job="other").status_code == 404)
    assert y(service) == 2.0


def test_several_processes_answer_and_count_together_and_one_that_dies_is_replaced(
    place: Place, start: Start
):
    place.job()
    service = start(place, "--workers", "3")

    def processes() -> set[int]:
        return {child.pid for child in psutil.Process(service.process.pid).children(recursive=True)}

    def ask(_: int) -> int:
        return httpx.post(f"{service.url}/v1/jobs/sample/predict", json=ROW, timeout=60).status_code

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(60))) == {200}

    def counted() -> bool:
        text = service.client.get("/metrics").text
        return 'scoring_rows_total{job="sample",status="scored",version="v1"} 60.0' in text

    assert counted()
    before = processes()
    victim = max(before)
    os.kill(victim, signal.SIGKILL)
    service.wait(lambda: victim not in processes() and len(processes()) >= len(before))

    def ask_again() -> bool:
        with suppress(httpx.TransportError):
            return ask(0) == 200
        return False

    service.wait(ask_again)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_end_waits_for_the_answers_that_are_owed(empty: Place, start: Start, workers: str):
    empty.scorer(
        "import pandas as pd, time\n"
        "def run(df):\n"
        "    time.sleep(1)\n"
        "    return pd.DataFrame({'y': df['x']}, index=df.index)\n"
    )
    empty.job(model=None, scorer="scorer.py")
    service = start(empty, "--workers", workers)

    def ask(_: int) -> int:
        return httpx.post(f"{service.url}/v1/jobs/sample/predict", json=ROW, timeout=60).status_code

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, n) for n in range(4)]
        service.wait(lambda: _connections(service) >= 4)
        assert service.stop() == 0
        assert [answer.result() for answer in answers] == [200] * 4


def _connections(service: Service) -> int:
    port = int(service.url.rpartition(":")[2])
    found = [
        connection
        for connection in psutil.net_connections("tcp")
        if connection.status == "ESTABLISHED" and connection.laddr and connection.laddr.port == port
    ]
    return len(found) - 1  # the client's own


def test_processes_end_with_the_one_that_started_them(place: Place, start: Start):
    place.job()
    service = start(place, "--workers", "2")
    children = psutil.Process(service.process.pid).children(recursive=True)
    service.process.kill()
    service.process.wait()
    assert psutil.wait_procs(children, 60)[1] == []
