"""An MLflow tracking server, over its REST API: https://mlflow.org/docs/latest/api_reference/rest-api.html

Not by MLflow's own client: the package asks for older releases of what Airflow comes with, repeats
a failed request for minutes, and keeps its credentials in the environment of the process.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import URLError
from urllib.parse import quote, unquote, urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from scoring import __version__
from scoring.errors import ModelError, RegistryUnavailableError, quoted

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 22
MOST_ANSWER_BYTES = 16 << 20
ARTIFACTS = "mlflow-artifacts/artifacts"


class AnswerError(ModelError):
    """The server refuses a request; ``code`` is its own word for why."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class MlflowServer:
    """The server at ``uri``; a password without a user is a token.

    Credentials are sent to this server only: no redirect is followed.
    """

    def __init__(self, uri: str, user: str | None = None, password: str | None = None) -> None:
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(
                "the MLflow server's URI must begin with http:// or https:// and name a host, as "
                f"in http://mlflow.example.com:5000; it begins with {quoted(parts.scheme, 20)!r}"
            )
        self.netloc = parts.netloc.rpartition("@")[2]
        self.uri = f"{parts.scheme}://{self.netloc}{parts.path.rstrip('/')}"
        user = user or unquote(parts.username or "")
        password = password or unquote(parts.password or "")
        self.headers = {"User-Agent": f"batch-scoring/{__version__}"} | _login(user, password)
        self._opener = OpenerDirector()
        self._opener.add_handler(ProxyHandler())
        self._opener.add_handler(HTTPHandler())
        self._opener.add_handler(HTTPSHandler(context=ssl.create_default_context()))

    def __repr__(self) -> str:
        return f"MlflowServer({self.uri!r})"

    def get(self, endpoint: str, **parameters: str) -> Any:
        """Return the answer of an endpoint of MLflow's own, such as ``model-versions/get``.

        Raises AnswerError where the server refuses, RegistryUnavailableError where it fails.
        """
        data = b"".join(self._chunks(f"mlflow/{endpoint}", parameters, MOST_ANSWER_BYTES))
        return self._json(data)

    def list_folder(self, path: str) -> list[tuple[str, bool]]:
        """Return name and whether it is a folder, for all that is directly in an artifact folder."""
        data = b"".join(self._chunks(ARTIFACTS, {"path": path}, MOST_ANSWER_BYTES))
        files = self._json(data).get("files", [])
        return [(str(file["path"]), bool(file.get("is_dir"))) for file in files]

    def artifact(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of one artifact."""
        return self._chunks(f"{ARTIFACTS}/{quote(path)}", {})

    def _chunks(
        self, endpoint: str, parameters: Mapping[str, str], most: int | None = None
    ) -> Iterator[bytes]:
        url = f"{self.uri}/api/2.0/{endpoint}"
        request = Request(f"{url}?{urlencode(parameters)}" if parameters else url)
        request.headers = dict(self.headers)
        size = 0
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                self._check_status(answer)
                while chunk := answer.read(CHUNK_BYTES):
                    size += len(chunk)
                    if most is not None and size > most:
                        raise self._unusable(f"answers with more than {most:,} bytes")
                    yield chunk
                expected = answer.headers.get("Content-Length")
        except (OSError, HTTPException, UnicodeError) as error:
            cause = error.reason if isinstance(error, URLError) else error
            why = quoted(str(cause), 200) or type(cause).__name__
            raise RegistryUnavailableError(
                f"the MLflow server {self.uri} cannot be reached: {why}"
            ) from None
        if expected is not None and size != int(expected):
            raise RegistryUnavailableError(
                f"the MLflow server {self.uri} sent {size:,} of {expected} bytes of {endpoint}"
            )

    def _check_status(self, answer: HTTPResponse) -> None:
        status = answer.status
        if status == 200:
            return
        body = answer.read(10_000)
        if status >= 500 or status in (408, 429):
            raise RegistryUnavailableError(f"the MLflow server {self.uri} fails: HTTP {status}")
        if status in (401, 403):
            raise ModelError(
                f"the MLflow server {self.uri} refuses the credentials (HTTP {status}). They come "
                "from the connection run.mlflow_conn_id, else from MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            )
        try:
            found = json.loads(body)
            code, message = str(found["error_code"]), quoted(str(found["message"]), 200)
        except (ValueError, KeyError, TypeError):
            raise self._unusable(f"answers with HTTP {status}") from None
        raise AnswerError(f"the MLflow server {self.uri} refuses: {message}", code)

    def _json(self, data: bytes) -> Any:
        try:
            found = json.loads(data)
        except ValueError:
            raise self._unusable("does not answer in JSON") from None
        if not isinstance(found, dict):
            raise self._unusable("does not answer with a JSON object")
        return found

    def _unusable(self, what: str) -> ModelError:
        return ModelError(
            f"{self.uri} {what}, so it is not an MLflow server; check MLFLOW_TRACKING_URI or the "
            "connection run.mlflow_conn_id"
        )


def _login(user: str, password: str) -> dict[str, str]:
    if user:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {password}"} if password else {}


def server_of_environment() -> MlflowServer:
    """Return the server that the environment variables of MLflow's own client name."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise ModelError(
            "the job's model is in an MLflow registry, and nothing says where that is: set the "
            "environment variable MLFLOW_TRACKING_URI, or in Airflow run.mlflow_conn_id"
        )
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return MlflowServer(uri, user, os.environ.get("MLFLOW_TRACKING_PASSWORD") if user else token)
