"""An object in S3 as a file: each read is a request for that range, tried again where it is cut.

All ranges are of the version that was opened (``If-Match``).  Nothing is read ahead: a reader of
parquet asks for the footer and for the columns and row groups that it needs.
"""

from __future__ import annotations

import io
from typing import Any

from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError

from scoring.errors import ReplacedMeanwhileError, SourceError, SourceReplacedError
from scoring.storage.s3.client import TRIES, split, translate_errors

_CUT = (HTTPClientError, ResponseStreamingError, IncompleteReadError)


class ObjectReader(io.RawIOBase):
    """``client`` is a boto3 S3 client.  Raises FileNotFoundError, and SourceError for all else."""

    def __init__(self, client: Any, uri: str) -> None:
        self._client, self._uri = client, uri
        self._bucket, self._key = split(uri)
        with translate_errors(uri, SourceError):
            head = client.head_object(Bucket=self._bucket, Key=self._key)
        self._size, self._version = int(head["ContentLength"]), str(head["ETag"])
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def size(self) -> int:
        return self._size

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        data = self._range(self._position, end)
        self._position = end
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _range(self, start: int, end: int) -> bytes:
        """Return bytes ``start`` to ``end``, whatever is cut on the way."""
        chunks: list[bytes] = []
        for _ in range(TRIES):
            try:
                for chunk in self._request(start, end).iter_chunks(1 << 20):
                    chunks.append(chunk)
                    start += len(chunk)
            except _CUT:
                continue
            if start == end:
                return b"".join(chunks)
        raise SourceError(
            f"{self._uri} was cut off at byte {start:,} of {self._size:,}, also after resuming, "
            f"in {TRIES} tries: try again later"
        )

    def _request(self, start: int, end: int) -> Any:
        asked = {"Bucket": self._bucket, "Key": self._key, "Range": f"bytes={start}-{end - 1}"}
        try:
            with translate_errors(self._uri, SourceError):
                return self._client.get_object(**asked, IfMatch=self._version)["Body"]
        except (FileNotFoundError, ReplacedMeanwhileError):
            raise SourceReplacedError(
                f"{self._uri} was replaced or removed while it was read: run it again"
            ) from None


def read_in_one_request(client: Any, uri: str) -> bytes | None:
    """Return all bytes of a small object; None where there is none, or where it was cut off: then
    ``ObjectReader`` goes on where it can.
    """
    bucket, key = split(uri)
    try:
        with translate_errors(uri, SourceError):
            body = client.get_object(Bucket=bucket, Key=key)["Body"]
        return bytes(body.read())
    except (FileNotFoundError, *_CUT):
        return None
