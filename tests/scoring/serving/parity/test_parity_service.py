"""A service that refuses, fails or is not there: one message each, with what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoring.cli.main import main
from tests.scoring.factories import MONTH, Place, run_steps
from tests.scoring.serving.small_service import SmallService, serving

Parity = Callable[..., tuple[int, str]]


@pytest.fixture
def service(place: Place) -> Iterator[SmallService]:
    """Ten rows are published, and served."""
    run = place.run()
    run_steps(run)
    with serving(SmallService(run)) as service:
        yield service


@pytest.fixture
def parity(place: Place, capsys: pytest.CaptureFixture[str]) -> Parity:
    """Runs the command; returns its status and what it has printed on stderr."""

    def call(url: str, *options: str) -> tuple[int, str]:
        places = ("--jobs", str(place.folder), "--data", str(place.data))
        status = main(["parity", "sample", MONTH, "--url", url, *places, *options])
        return status, capsys.readouterr().err

    return call


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the client, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(
        "scoring.serving.parity.client.Client._pause", lambda client, seconds: found.append(seconds)
    )
    return found


def test_where_nothing_listens_the_url_is_named(service: SmallService, parity: Parity):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    status, message = parity(url)
    assert status == 1
    assert message.startswith(f"error: {url} cannot be reached: ")
    assert "Start the service, or correct --url" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "without its token: no, really. Give the service's token in a file, by --token-file"),
        (403, "does not allow the request: no, really. Give a token"),
        (404, "what sample was published with: no, really. Start the service with sample and"),
        (413, "so many rows at once: no, really. Ask with fewer --rows-per-request"),
        (400, "answered with the status 400: no, really. Nothing was compared"),
        (500, "answered with the status 500: no, really. The service's log says why"),
        (302, "answered with the status 302: no, really. Nothing was compared"),
        (422, "answered with the status 422: no, really. Nothing was compared"),
    ],
)
def test_a_refusal_is_one_message_with_what_to_do(
    service: SmallService, parity: Parity, status: int, expected: str
):
    service.refusals = [(status, {}, "no, really.")]
    found, message = parity(service.url)
    assert found == 1
    assert message.startswith(f"error: {service.url} ")
    assert expected in message
    assert message.count("\n") == 1


def test_a_busy_service_is_waited_for(service: SmallService, parity: Parity, waits: list[float]):
    service.refusals = [(503, {"Retry-After": "7"}, "busy"), (503, {}, "busy")]
    assert parity(service.url) == (0, "")
    assert waits == [7.0, 1.0]


def test_a_service_that_stays_busy_is_given_up(
    service: SmallService, parity: Parity, waits: list[float]
):
    service.refusals = [(503, {"Retry-After": "3600"}, "the models are being loaded")] * 9
    status, message = parity(service.url)
    assert status == 1
    assert waits == [30.0] * 4
    assert "has answered 503 for 120 seconds: the models are being loaded" in message
    assert "Ask with fewer --connections, or later" in message


def test_the_token_is_read_from_a_file_and_never_shown(
    service: SmallService, parity: Parity, tmp_path: Path
):
    file = tmp_path / "token"
    file.write_text("c2VjcmV0\n")
    assert parity(service.url, "--token-file", str(file)) == (0, "")
    assert {headers["Authorization"] for *_, headers in service.requests} == {"Bearer c2VjcmV0"}
    service.refusals = [(401, {}, "the token is wrong")]
    assert "c2VjcmV0" not in parity(service.url, "--token-file", str(file))[1]
    file.write_text("two words")
    status, message = parity(service.url, "--token-file", str(file))
    assert status == 1
    assert "two" not in message
    file.unlink()
    status, message = parity(service.url, "--token-file", str(file))
    assert (status, message) == (1, f"error: {file}: No such file or directory\n")


def test_without_a_token_none_is_sent(service: SmallService, parity: Parity):
    assert parity(service.url) == (0, "")
    assert all("Authorization" not in headers for *_, headers in service.requests)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("text/html", b"<html>", "answered with text/html, not with application/json"),
        ("application/json", b"<html>", "it is not JSON"),
        ("application/json", b"[]", "it has no list `rows` of objects"),
        ("application/json", b'{"rows": [1]}', "it has no list `rows` of objects"),
        ("application/json", b'{"rows": [{"row": "1"}]}', "the number of a row is '1'"),
        ("application/vnd.apache.arrow.stream", b"x", "it is not an Arrow stream"),
    ],
)
def test_anything_but_an_answer_is_said(
    service: SmallService, parity: Parity, kind: str, data: bytes, expected: str
):
    service.respond = lambda *request: (kind, data)  # type: ignore[method-assign]
    status, message = parity(service.url)
    assert status == 1
    assert expected in message
    assert "Correct --url" in message


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "http://me:pw@x", "http://x/?token=1"]
)
def test_what_is_not_the_url_of_a_service_is_refused(
    place: Place, url: str, capsys: pytest.CaptureFixture[str]
):
    place.job()
    with pytest.raises(SystemExit) as ended:
        main(["parity", "sample", MONTH, "--url", url, "--jobs", str(place.folder)])
    assert ended.value.code == 2
    assert "--url" in capsys.readouterr().err


def test_a_report_that_could_not_be_written_is_said_first(
    service: SmallService, parity: Parity, tmp_path: Path
):
    status, message = parity(service.url, "--report", str(tmp_path / "nowhere" / "report.json"))
    assert status == 1
    assert "the folder of --report" in message
    assert service.requests == []
