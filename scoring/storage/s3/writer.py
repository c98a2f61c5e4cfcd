"""An object on its way to S3, in parts that the server checks; and uploads that nobody will end.

Protocol: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scoring.errors import PublicationError, ReplacedMeanwhileError
from scoring.storage.base import TreeEntry
from scoring.storage.s3.client import is_forbidden, split, translate_errors

PART_BYTES = 16 << 20
"""The first parts of an upload."""
_PARTS_OF_A_SIZE = 1_000
"""After so many, parts are larger by ``PART_BYTES``. S3 takes 10,000 of them: 922 GB, the last of 168 MB."""


def part_bytes(sent: int) -> int:
    """Return the size of the part that follows ``sent`` others."""
    return PART_BYTES * (1 + sent // _PARTS_OF_A_SIZE)


@dataclass(frozen=True)
class Upload:
    """A multipart upload that is in progress: parts that cost money, and that no reader sees."""

    key: str
    id: str


def uploads_under(client: Any, uri: str) -> list[Upload]:
    """Return the uploads of keys that begin as ``uri`` does; none where it is not allowed to look."""
    bucket, prefix = split(uri)
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    with translate_errors(uri, PublicationError):
        try:
            return [Upload(u["Key"], u["UploadId"]) for p in pages for u in p.get("Uploads", [])]
        except ClientError as error:
            if is_forbidden(error):
                return []  # a rule of the bucket has to remove them
            raise


def abort_uploads(client: Any, bucket: str, uploads: list[Upload]) -> None:
    """End ``uploads`` as far as possible: what fails here is never worth more than it."""
    for upload in uploads:
        with contextlib.suppress(BotoCoreError, ClientError):
            client.abort_multipart_upload(Bucket=bucket, Key=upload.key, UploadId=upload.id)


def upload_entry(client: Any, bucket: str, upload: Upload) -> TreeEntry:
    """Return the size of the parts of ``upload``; its age is that of the last part, or of nothing."""
    parts, ages = [], [float("inf")]
    with contextlib.suppress(BotoCoreError, ClientError):  # completed or aborted meanwhile
        answer = client.list_parts(Bucket=bucket, Key=upload.key, UploadId=upload.id)
        parts = answer.get("Parts", [])
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        ages = [(now - part["LastModified"]).total_seconds() for part in parts] or [0.0]
    size = sum(part["Size"] for part in parts)
    return TreeEntry(f"s3://{bucket}/{upload.key}?upload", size, min(ages))


class PendingUpload:
    """An object that is being uploaded in parts, each with its SHA256; small ones in one request.

    ``condition`` is what the commit demands of the object that it replaces.  ``begin`` makes it a
    multipart upload from the start, which others can see and abort.
    """

    def __init__(
        self,
        client: Any,
        uri: str,
        encryption: dict[str, str],
        condition: dict[str, str] | None = None,
    ) -> None:
        self.size = 0
        self.closed = False
        self.uri = uri
        self.version: str | None = None
        self._client = client
        self._bucket, self._key = split(uri)
        self._at = {"Bucket": self._bucket, "Key": self._key}
        self._condition, self._encryption = condition or {}, encryption
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def begin(self) -> None:
        with translate_errors(self.uri, PublicationError):
            self._upload = self._client.create_multipart_upload(
                **self._at, ChecksumAlgorithm="SHA256", **self._encryption
            )["UploadId"]

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._waiting += data
        self.size += len(data)
        while len(self._waiting) >= (size := part_bytes(len(self._parts))):
            if self._upload is None:
                # What a killed writer left that restarts here: of two, the later one is wanted.
                self._abort_others(self._others())
                self.begin()
            self._send(bytes(memoryview(self._waiting)[:size]))
            del self._waiting[:size]
        return len(data)

    def flush(self) -> None:
        """Do nothing: a part is sent when it is full."""

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def commit(self) -> None:
        try:
            self.version = self._put() if self._upload is None else self._complete()
        except FileNotFoundError:
            raise ReplacedMeanwhileError(
                f"{self.uri} was removed by another process in the meantime; nothing was written "
                "by this one: run it again"
            ) from None
        self._upload, self.closed = None, True

    def abort(self) -> None:
        self.closed = True
        if self._upload is not None:
            abort_uploads(self._client, self._bucket, [Upload(self._key, self._upload)])
            self._upload = None

    def _put(self) -> str:
        body = bytes(self._waiting)
        with translate_errors(self.uri, PublicationError):
            answer = self._client.put_object(
                **self._at,
                Body=body,
                ChecksumSHA256=_encoded(self._digest.digest()),  # nothing was sent before
                **self._condition,
                **self._encryption,
            )
        return str(answer["ETag"])

    def _complete(self) -> str:
        if self._waiting or not self._parts:
            self._send(bytes(self._waiting))
        # Listed before the commit: these saw the object that it replaces, and have lost with it.
        others = self._others() if self._condition else []
        with translate_errors(self.uri, PublicationError):
            try:
                version = self._client.complete_multipart_upload(
                    **self._at,
                    UploadId=self._upload,
                    MultipartUpload={"Parts": self._parts},
                    **self._condition,
                )["ETag"]
            except ClientError as error:
                done = self._completed_by_an_earlier_try(error)
                if done is None:
                    raise
                version = done
        self._abort_others(others)
        return str(version)

    def _completed_by_an_earlier_try(self, error: ClientError) -> str | None:
        """Return the object's version, if the server did as translate_errors but its answer was
        lost.
        """
        if not error.response["ResponseMetadata"].get("RetryAttempts"):
            return None
        try:
            head = self._client.head_object(**self._at, ChecksumMode="ENABLED")
        except ClientError:
            return None
        parts = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in self._parts)
        expected = f"{_encoded(hashlib.sha256(parts).digest())}-{len(self._parts)}"
        return str(head["ETag"]) if head.get("ChecksumSHA256") == expected else None

    def _others(self) -> list[Upload]:
        """Return the uploads of this very object that are in progress, without this one."""
        found = uploads_under(self._client, self.uri)
        return [u for u in found if u.key == self._key and u.id != self._upload]

    def _abort_others(self, others: list[Upload]) -> None:
        abort_uploads(self._client, self._bucket, others)

    def _send(self, part: bytes) -> None:
        checksum, number = _encoded(hashlib.sha256(part).digest()), len(self._parts) + 1
        with translate_errors(self.uri, PublicationError):
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


def _encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
