"""Files that anyone may fetch over HTTPS, as sources: found by a HEAD request, downloaded once.

A file is read from an unnamed temporary copy, so that its digest, its header and its rows cost one
download.  The copy is gone as soon as nobody holds it open, however the process ends.
"""

from __future__ import annotations

from http.client import HTTPResponse
from typing import TYPE_CHECKING

from scoring.storage.base import ObjectInfo
from scoring.storage.https.client import ABSENT, Client, unexpected, with_retries
from scoring.storage.https.download import Download

if TYPE_CHECKING:
    import pyarrow as pa

_NO_HEAD = (400, 403, 405, 501)
"""What servers answer that know a file, but no HEAD request for it."""


class HttpsStorage:
    """A ``ReadableStorage`` that keeps a copy of each file which it is asked to identify or open."""

    def __init__(self) -> None:
        self._client = Client()
        self._copies: dict[str, Download] = {}

    def find(self, pattern: str) -> list[ObjectInfo]:
        found = with_retries(pattern, lambda: self._look(pattern))
        return [found] if found else []

    def identify(self, found: ObjectInfo) -> ObjectInfo:
        copy = self._copy(found.uri)
        return ObjectInfo(found.uri, copy.bytes, copy.etag, copy.sha256)

    def sha256(self, uri: str) -> str | None:
        return self._copy(uri).sha256

    def open(self, uri: str) -> pa.NativeFile:
        from pyarrow import OSFile

        # The copy has no name; this opens it again, with a position of its own.
        return OSFile(f"/proc/self/fd/{self._copy(uri).file.fileno()}")

    def _copy(self, uri: str) -> Download:
        if uri not in self._copies:
            self._copies[uri] = Download(self._client, uri)
        return self._copies[uri]

    def _look(self, uri: str) -> ObjectInfo | None:
        with self._client.ask("HEAD", uri) as answer:
            if answer.status == 200:
                return _described(uri, answer)
            if answer.status in ABSENT:
                return None
            if answer.status not in _NO_HEAD:
                raise unexpected(uri, answer)
        with self._client.ask("GET", uri, {"Range": "bytes=0-0"}) as answer:
            if answer.status in (200, 206, 416):  # the last: an empty file has no first byte
                return _described(uri, answer)
            if answer.status in ABSENT:
                return None
            raise unexpected(uri, answer)


def _described(uri: str, answer: HTTPResponse) -> ObjectInfo:
    """Return what the headers say of a file that was not downloaded; its size is 0 if they say
    none.
    """
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    length = total or answer.headers.get("Content-Length", "")
    return ObjectInfo(uri, int(length) if length.isdecimal() else 0, answer.headers.get("ETag"))
