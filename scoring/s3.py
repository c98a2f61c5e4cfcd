"""Objects in S3, with the guarantees that publication needs asked of the server itself.

Every part that is written carries its SHA256, which the server verifies.  Where two writers may
meet, the write is conditional (``If-Match``, ``If-None-Match``): the server lets exactly one of them
win.  An upload that is not completed is invisible to readers, and aborted by its writer.

Protocol: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import hashlib
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

from scoring.errors import PublicationError, ScoringError, SourceError
from scoring.storage import ObjectInfo, Pending

if TYPE_CHECKING:
    import pyarrow as pa

PART_BYTES = 16 << 20
"""Parts of an upload; S3 allows 10,000 parts, so an object may have 160 GB."""

READ_TRIES = 5

_CONFLICT = ("PreconditionFailed", "ConditionalRequestConflict")
_ABSENT = ("NoSuchKey", "404", "NotFound")
_MEANING = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidAccessKeyId": "the access key is not known to the server",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "AccessDenied": "these credentials may not do this",
    "403": "these credentials may not do this, or are not known",
    "BadDigest": "the bytes were damaged on their way, and refused by the server",
}


def default_client() -> Any:
    """A client with boto3's own chain of credentials and settings, and bounded retries."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=10,
        read_timeout=60,
    )
    return boto3.client("s3", config=config)


class ReplacedMeanwhile(PublicationError):
    """A conditional write lost: another writer was first."""


class S3Storage:
    """``client`` is a boto3 S3 client; it brings the credentials, the endpoint and the retries."""

    def __init__(self, client: Any, encryption: dict[str, str] | None = None) -> None:
        self._client = client
        self._encryption = encryption or {}

    def find(self, pattern: str) -> list[ObjectInfo]:
        bucket, key = _split(pattern)
        fixed = re.split(r"[*?\[]", key)[0]
        matches = re.compile(_glob_expression(key)).fullmatch
        found = []
        with _told(pattern, SourceError):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=fixed
            )
            for page in pages:
                for item in page.get("Contents", []):
                    if item["Key"] == key or matches(item["Key"]):
                        uri = f"s3://{bucket}/{item['Key']}"
                        found.append(ObjectInfo(uri, item["Size"], item["ETag"].strip('"')))
        return sorted(found, key=lambda info: info.uri)

    def open(self, uri: str) -> pa.NativeFile:
        from pyarrow import PythonFile

        return PythonFile(_ObjectReader(self._client, uri), mode="r")

    def read(self, uri: str) -> bytes | None:
        try:
            return b"".join(self._chunks(uri))
        except FileNotFoundError:
            return None

    def sha256(self, uri: str) -> str | None:
        digest = hashlib.sha256()
        try:
            for chunk in self._chunks(uri):
                digest.update(chunk)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def create(self, uri: str, replaces_current: bool = False) -> Pending:
        condition = {}
        if replaces_current:
            current = self._version(uri)
            condition = {"IfMatch": current} if current else {"IfNoneMatch": "*"}
        return _PendingUpload(self._client, uri, condition, self._encryption)

    def move(self, source: str, target: str) -> None:
        from_bucket, from_key = _split(source)
        bucket, key = _split(target)
        with _told(target, PublicationError):
            self._client.copy_object(
                Bucket=bucket,
                Key=key,
                CopySource={"Bucket": from_bucket, "Key": from_key},
                **self._encryption,
            )
        self.remove(source)

    def remove(self, uri: str) -> None:
        bucket, key = _split(uri)
        with _told(uri, PublicationError):
            self._client.delete_object(Bucket=bucket, Key=key)

    def remove_tree(self, uri: str) -> None:
        for found in self.find(f"{uri}/**"):
            self.remove(found.uri)

    @contextlib.contextmanager
    def claim(self, uri: str, what: str) -> Iterator[None]:
        # Conditional writes decide between writers; a lock in S3 would outlive a killed one.
        yield

    def write_beside(self, uri: str, data: bytes, committed: Pending) -> None:
        # The manifest's version is noted before the predictions' is looked at: whoever swaps them
        # after that look writes the manifest later than this, or makes this write fail.
        assert isinstance(committed, _PendingUpload)
        while True:
            before = self._version(uri)
            if self._version(committed.uri) != committed.version:
                raise PublicationError(
                    f"{committed.uri} was replaced by another process right after this one had "
                    "written it; that one's stays"
                )
            condition = {"IfMatch": before} if before else {"IfNoneMatch": "*"}
            new = _PendingUpload(self._client, uri, condition, self._encryption)
            new.write(data)
            with contextlib.suppress(ReplacedMeanwhile):
                new.commit()
                return

    def _version(self, uri: str) -> str | None:
        bucket, key = _split(uri)
        try:
            with _told(uri, PublicationError):
                return str(self._client.head_object(Bucket=bucket, Key=key)["ETag"])
        except FileNotFoundError:
            return None

    def _chunks(self, uri: str) -> Iterator[bytes]:
        reader = _ObjectReader(self._client, uri)
        while chunk := reader.read(PART_BYTES):
            yield chunk


class _ObjectReader(io.RawIOBase):
    """An object as a file: each read is a request for that range, tried again when it is cut."""

    def __init__(self, client: Any, uri: str) -> None:
        self._client, self._uri = client, uri
        self._bucket, self._key = _split(uri)
        with _told(uri, SourceError):
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
        """Bytes ``start`` to ``end`` of the version that was opened, whatever is cut on the way."""
        received = b""
        for attempt in range(READ_TRIES):
            try:
                with _told(self._uri, SourceError):
                    answer = self._client.get_object(
                        Bucket=self._bucket,
                        Key=self._key,
                        Range=f"bytes={start + len(received)}-{end - 1}",
                        IfMatch=self._version,
                    )
                for chunk in answer["Body"].iter_chunks(1 << 20):
                    received += chunk
            except (HTTPClientError, ResponseStreamingError, IncompleteReadError):
                if attempt == READ_TRIES - 1:
                    break
            if len(received) == end - start:
                return received
        raise SourceError(
            f"{self._uri} was cut off at byte {start + len(received):,} of {self._size:,} in each of "
            f"{READ_TRIES} tries; nothing was published"
        )


class _PendingUpload:
    """An object that is being uploaded in parts, each with its SHA256; small ones in one piece."""

    def __init__(
        self, client: Any, uri: str, condition: dict[str, str], encryption: dict[str, str]
    ) -> None:
        self.size = 0
        self.closed = False
        self.uri = uri
        self.version: str | None = None
        self._client = client
        self._at = dict(zip(("Bucket", "Key"), _split(uri), strict=True))
        self._condition, self._encryption = condition, encryption
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._waiting += data
        self.size += len(data)
        while len(self._waiting) >= PART_BYTES:
            self._send(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]
        return len(data)

    def flush(self) -> None:
        """Nothing: a part is sent when it is full."""

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def commit(self) -> None:
        with _told(self.uri, PublicationError):
            if self._upload is None:
                body = bytes(self._waiting)
                answer = self._client.put_object(
                    **self._at,
                    Body=body,
                    ChecksumSHA256=_checksum(body),
                    **self._condition,
                    **self._encryption,
                )
            else:
                self._send(bytes(self._waiting))
                answer = self._client.complete_multipart_upload(
                    **self._at,
                    UploadId=self._upload,
                    MultipartUpload={"Parts": self._parts},
                    **self._condition,
                )
        self.version = str(answer["ETag"])
        self._upload, self.closed = None, True

    def abort(self) -> None:
        self.closed = True
        if self._upload is not None:
            upload, self._upload = self._upload, None
            with contextlib.suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**self._at, UploadId=upload)

    def _send(self, part: bytes) -> None:
        with _told(self.uri, PublicationError):
            if self._upload is None:
                self._upload = self._client.create_multipart_upload(
                    **self._at, ChecksumAlgorithm="SHA256", **self._encryption
                )["UploadId"]
            checksum, number = _checksum(part), len(self._parts) + 1
            answer = self._client.upload_part(
                **self._at,
                UploadId=self._upload,
                PartNumber=number,
                Body=part,
                ChecksumSHA256=checksum,
            )
        self._parts.append(
            {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}
        )


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _glob_expression(pattern: str) -> str:
    """``*`` and ``?`` match within a folder, ``**/`` any number of folders, as in a file system."""
    parts = re.split(r"(\*\*/?|\*|\?|\[[^\]]*\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        known.get(part) or (fnmatch.translate(part)[4:-3] if part[:1] == "[" else re.escape(part))
        for part in parts
    )


@contextlib.contextmanager
def _told(uri: str, kind: type[ScoringError]) -> Iterator[None]:
    """botocore's errors in words: FileNotFoundError for an absent object, else ``kind``."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _ABSENT:
            raise FileNotFoundError(uri) from error
        if code in _CONFLICT:
            raise ReplacedMeanwhile(
                f"{uri} was written by another process in the meantime; that one's stays, and nothing "
                "was changed by this one: run it again"
            ) from error
        message = error.response["Error"].get("Message", "")
        raise kind(f"{uri}: {_MEANING.get(code, 'S3 answered')} ({code}: {message})") from error
    except BotoCoreError as error:
        raise kind(f"{uri}: S3 cannot be reached or used: {error}") from error
