"""What an MLflow server, or what answers in its place, may do: small servers of these tests' own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scoring.errors import ModelError, RegistryUnavailableError, ScoringError
from scoring.models.base import RegisteredModel
from scoring.models.folders import LocalCopy, checked_paths, folder_digest
from scoring.models.mlflow.registry import ServedFolder, registered_folder
from scoring.models.mlflow.server import MlflowServer
from scoring.storage.connections import Connections

Answer = tuple[int, dict[str, str], bytes]
Serve = Callable[[Callable[[str], Answer]], tuple[str, list[tuple[str, str | None]]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server of given answers; returns its URI, and the paths and logins that it sees."""
    started: list[ThreadingHTTPServer] = []

    def start(answer: Callable[[str], Answer]) -> tuple[str, list[tuple[str, str | None]]]:
        seen: list[tuple[str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, self.headers.get("Authorization")))
                status, headers, body = answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}", seen

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((503, {}, b""), RegistryUnavailableError, "fails: HTTP 503"),
        ((401, {}, b"who?"), ModelError, r"refuses the credentials \(HTTP 401\)"),
        ((404, {}, b"<html>"), ModelError, "answers with HTTP 404, so it is not an MLflow server"),
        ((200, {}, b"<html>"), ModelError, "does not answer in JSON"),
        ((200, {}, b"[1]"), ModelError, "does not answer with a JSON object"),
        ((200, {"Content-Length": "9"}, b"{}"), RegistryUnavailableError, "sent 2 of 9 bytes"),
        (
            (400, {}, b'{"error_code": "X", "message": "no\\n\\u001b[2J"}'),
            ModelError,
            r"no\\n\\x1b",
        ),
    ],
)
def test_what_is_not_an_answer_is_one_sentence(
    serve: Serve, answer: Answer, kind: type[ScoringError], message: str
) -> None:
    uri, _ = serve(lambda path: answer)
    with pytest.raises(kind, match=message) as caught:
        MlflowServer(uri).get("registered-models/get", name="ride")
    assert "\n" not in str(caught.value)


def test_credentials_are_sent_to_the_server_and_nowhere_else(serve: Serve) -> None:
    other, seen_there = serve(lambda path: (200, {}, b"{}"))
    uri, seen = serve(lambda path: (302, {"Location": f"{other}/there"}, b""))
    server = MlflowServer(uri, "ada", "pw")
    with pytest.raises(ModelError, match="answers with HTTP 302"):
        server.get("registered-models/get", name="a&b")
    path = "/api/2.0/mlflow/registered-models/get?name=a%26b"
    assert seen == [(path, "Basic YWRhOnB3")]
    assert seen_there == []
    elsewhere = other.removeprefix("http://")
    model = RegisteredModel(
        name="ride", number="1", alias=None, run_id=None, source=f"mlflow-artifacts://{elsewhere}/1"
    )
    with pytest.raises(ModelError, match="only artifacts that the tracking server itself serves"):
        registered_folder(model, Connections(mlflow=lambda: server))


@pytest.mark.parametrize(
    "source", ["gs://bucket/model", "http://other/model", "model", "ftp://x/y"]
)
def test_artifacts_elsewhere_are_not_read(source: str) -> None:
    model = RegisteredModel(name="ride", number="1", alias=None, run_id=None, source=source)
    with pytest.raises(ModelError, match="version 1 of the model ride lies at"):
        registered_folder(model, Connections())


@pytest.mark.parametrize("name", ["../escaped", "..", "a/b", "/etc/passwd", "a\\b", "a\n", "", "."])
def test_a_server_cannot_name_a_file_outside_of_the_copy(serve: Serve, name: str) -> None:
    uri, _ = serve(
        lambda path: (
            (200, {}, json.dumps({"files": [{"path": name}]}).encode())
            if "?" in path
            else (200, {}, b"x")
        )
    )
    folder = ServedFolder(MlflowServer(uri), "1/artifacts")
    with pytest.raises(ModelError, match=r"name is not allowed|lists a path"):
        LocalCopy(folder, "ride")


def test_a_folder_that_never_ends_is_given_up(serve: Serve) -> None:
    body = b'{"files": [{"path": "a"}, {"path": "deeper", "is_dir": true}]}'
    uri, seen = serve(lambda path: (200, {}, body))

    folder = ServedFolder(MlflowServer(uri), "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scoring.models.mlflow.registry.MOST_FILES", 20)
        patch.setattr("scoring.models.folders.MOST_FILES", 20)
        with pytest.raises(ModelError, match="more than 20 files"):
            folder_digest(folder, "ride")
    assert len(seen) < 30


class Paths:
    """A folder with these paths, all of them empty files."""

    def __init__(self, *paths: str) -> None:
        self._paths = list(paths)

    def paths(self) -> list[str]:
        return self._paths

    def chunks(self, path: str) -> Iterator[bytes]:
        yield b""


def test_a_path_within_a_file_is_refused() -> None:
    with pytest.raises(ModelError, match="not allowed: a/b"):
        checked_paths(Paths("a", "a/b"), "ride")
    assert folder_digest(Paths("a", "b"), "x") != folder_digest(Paths("a", "c"), "x")
    assert folder_digest(Paths("b", "a"), "x") == folder_digest(Paths("a", "b"), "x")


def test_a_copy_is_gone_with_its_object() -> None:
    copy = LocalCopy(Paths("MLmodel", "code/a.py"), "ride")
    path = copy.path
    assert (path / "code" / "a.py").is_file()
    del copy
    assert not path.exists()
