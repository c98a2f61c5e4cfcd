"""One file fetched over HTTPS, whole or not at all: a download that is cut is taken up again."""

from __future__ import annotations

import hashlib
import re
import tempfile
import weakref
from http.client import HTTPResponse

from scoring.errors import SourceError, SourceMissingError
from scoring.storage.https.client import ABSENT, TRIES, Client, Interrupted, pause_after, unexpected

CHUNK_BYTES = 1 << 20

PROGRESS_BYTES = 1 << 20
"""A try that brings at least so much more counts as none: a large file may be cut many times."""


class Download:
    """The bytes at ``uri`` in a temporary file without a name, with their digest.

    ``file`` is gone when this object is, and when the process has ended, however it did.  Raises
    SourceMissingError, and SourceError with byte and tries if the file cannot be fetched whole.
    """

    def __init__(self, client: Client, uri: str) -> None:
        self._client, self._uri = client, uri
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see the next line
        weakref.finalize(self, self.file.close)
        self._begin(None)
        self._fetch()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def etag(self) -> str | None:
        return self._version[0]

    def _begin(self, answer: HTTPResponse | None) -> None:
        """Take the file for the one in ``answer``, of which nothing has come yet."""
        self.file.seek(0)
        self.file.truncate()
        self.bytes = 0
        self._digest = hashlib.sha256()
        self._version = _version(answer) if answer else (None, None)
        self._total = answer.length if answer else None

    def _fetch(self) -> None:
        failures, farthest = 0, 0
        while True:
            try:
                return self._fetch_rest()
            except Interrupted as error:
                why = str(error)
            failures = 1 if self.bytes >= farthest + PROGRESS_BYTES else failures + 1
            farthest = max(farthest, self.bytes)
            if failures == TRIES:
                total = f" of {self._total:,}" if self._total is not None else ""
                raise SourceError(
                    f"{self._uri} could not be downloaded completely: {why}, at byte "
                    f"{self.bytes:,}{total}; given up after {TRIES} tries in a row"
                )
            pause_after(failures)

    def _fetch_rest(self) -> None:
        """Fetch from where the last try ended, or from the start where the server cannot resume
        there.
        """
        validator = _validator(self._version)
        wanted = {}
        if self.bytes and validator:
            wanted = {"Range": f"bytes={self.bytes}-", "If-Range": validator}
        with self._client.ask("GET", self._uri, wanted) as answer:
            if answer.status == 200:
                if answer.length is None and not answer.chunked:
                    raise SourceError(
                        f"{self._uri}: the server does not say how long the file is, so that a cut "
                        "would go unseen. Copy the file to S3 or to a disk"
                    )
                self._begin(answer)
            elif answer.status in (206, 416):
                if answer.status == 416 or not self._goes_on(answer):
                    self._begin(None)
                    raise Interrupted("the file was replaced on the server during the download")
            elif answer.status in ABSENT:
                raise SourceMissingError(
                    f"{self._uri} disappeared during the download: the server answered "
                    f"{answer.status}"
                )
            else:
                raise unexpected(self._uri, answer)
            while chunk := answer.read1(CHUNK_BYTES):
                self._keep(chunk)
        if self._total is not None and self.bytes != self._total:
            raise Interrupted("the connection was cut")

    def _goes_on(self, answer: HTTPResponse) -> bool:
        """Return whether a partial answer begins where this ends, and is of the same file."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != self.bytes or _version(answer) != self._version:
            return False
        return self._total is None or found[2] in ("*", str(self._total))

    def _keep(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.bytes += len(chunk)
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            raise SourceError(
                f"{self._uri} cannot be kept in {tempfile.gettempdir()} while it is read: "
                f"{error.strerror}"
            ) from error


def _version(answer: HTTPResponse) -> tuple[str | None, str | None]:
    return answer.headers.get("ETag"), answer.headers.get("Last-Modified")


def _validator(version: tuple[str | None, str | None]) -> str | None:
    """Return what ``If-Range`` may name: an ETag that stands for the very bytes, else the time of
    change.
    """
    etag, last_modified = version
    return etag if etag and not etag.startswith("W/") else last_modified
