"""The storage of ``s3://`` URIs, with the guarantees that publication needs asked of the server.

Where two writers may meet, the write is conditional (``If-Match``, ``If-None-Match``): the server
lets exactly one of them win.  See docs/decisions/0010-s3.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scoring.errors import PublicationError, ScoringError, SourceError, SourceReplacedError
from scoring.storage.base import ObjectInfo, Pending, TreeEntry, Unchanged
from scoring.storage.patterns import is_match
from scoring.storage.s3.client import split, translate_errors
from scoring.storage.s3.listing import parse_listings_fast
from scoring.storage.s3.reader import ObjectReader, read_in_one_request
from scoring.storage.s3.writer import PendingUpload, abort_uploads, upload_entry, uploads_under

if TYPE_CHECKING:
    import pyarrow as pa

Taken = TypeVar("Taken")

CHUNK_BYTES = 16 << 20
COPY_PART_BYTES = 1 << 30  # larger objects are copied in parts: S3 copies 5 GB at once at most
DELETED_AT_ONCE = 1000  # as many as DeleteObjects takes


class S3Storage:
    """``client`` is a boto3 S3 client; it brings the credentials, the endpoint and the retries."""

    def __init__(self, client: Any, encryption: dict[str, str] | None = None) -> None:
        parse_listings_fast(client)
        self._client = client
        self._encryption = encryption or {}

    def find(self, pattern: str) -> list[ObjectInfo]:
        _, key = split(pattern)
        fixed = re.split(r"[*?\[]", pattern.removeprefix("s3://"))[0]
        found = self._list(f"s3://{fixed}", SourceError)
        exact = [info for info in found if info.uri == pattern]
        return exact or [info for info in found if is_match(split(info.uri)[1], key)]

    def identify(self, found: ObjectInfo) -> ObjectInfo:
        return found  # its ETag is the server's own mark of the bytes, without reading them all

    def open(self, uri: str) -> pa.NativeFile:
        from pyarrow import PythonFile

        return PythonFile(ObjectReader(self._client, uri), mode="r")

    def read(self, uri: str) -> bytes | None:
        data = read_in_one_request(self._client, uri)
        return data if data is not None else self._read_whole(uri, b"".join)

    def sha256(self, uri: str) -> str | None:
        return self._read_whole(uri, _sha256)

    def version(self, uri: str) -> str | None:
        bucket, key = split(uri)
        try:
            with translate_errors(uri, PublicationError):
                return str(self._client.head_object(Bucket=bucket, Key=key)["ETag"])
        except FileNotFoundError:
            return None

    def create(self, uri: str, condition: Unchanged | None = None) -> Pending:
        if condition is None:
            return PendingUpload(self._client, uri, self._encryption)
        demanded = {"IfMatch": condition.version} if condition.version else {"IfNoneMatch": "*"}
        new = PendingUpload(self._client, uri, self._encryption, demanded)
        new.begin()  # after its condition was read, so that who lists it and then wins may abort it
        return new

    def move(self, source: str, target: str) -> None:
        from boto3.s3.transfer import TransferConfig

        from_bucket, from_key = split(source)
        bucket, key = split(target)
        with translate_errors(target, PublicationError):
            self._client.copy(
                {"Bucket": from_bucket, "Key": from_key},
                bucket,
                key,
                ExtraArgs=self._encryption,
                Config=TransferConfig(
                    multipart_threshold=COPY_PART_BYTES,
                    multipart_chunksize=COPY_PART_BYTES,
                    use_threads=False,
                ),
            )
        self.remove(source)

    def remove(self, uri: str) -> None:
        bucket, key = split(uri)
        with translate_errors(uri, PublicationError):
            self._client.delete_object(Bucket=bucket, Key=key)

    def remove_tree(self, uri: str) -> None:
        bucket, _ = split(uri)
        abort_uploads(self._client, bucket, uploads_under(self._client, f"{uri}/"))
        keys = [split(found.uri)[1] for found in self._list(f"{uri}/", PublicationError)]
        for start in range(0, len(keys), DELETED_AT_ONCE):
            batch = [{"Key": key} for key in keys[start : start + DELETED_AT_ONCE]]
            with translate_errors(uri, PublicationError):
                answer = self._client.delete_objects(
                    Bucket=bucket, Delete={"Objects": batch, "Quiet": True}
                )
            for refused in answer.get("Errors", [])[:1]:
                raise PublicationError(
                    f"{len(answer['Errors'])} objects under {uri} cannot be removed, the first of "
                    f"them s3://{bucket}/{refused['Key']} ({refused['Code']}: "
                    f"{refused.get('Message', '')})"
                )

    def tree(self, uri: str) -> list[TreeEntry]:
        bucket, key = split(f"{uri}/")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        with translate_errors(uri, PublicationError):
            objects = [
                TreeEntry(
                    f"s3://{bucket}/{item['Key']}", item["Size"], _age(page, item["LastModified"])
                )
                for page in pages
                for item in page.get("Contents", [])
            ]
        uploads = [entry for entry, _ in self.unfinished(uri)]
        return sorted([*objects, *uploads], key=lambda entry: entry.uri)

    def files(self, uri: str) -> list[ObjectInfo]:
        found = self._list(f"{uri}/", SourceError)
        return [info for info in found if not info.uri.endswith("/")]  # which stand for folders

    def listing(self, prefix: str) -> list[ObjectInfo]:
        return self._list(prefix, SourceError)

    def unfinished(self, uri: str) -> list[tuple[TreeEntry, Callable[[], None]]]:
        bucket, _ = split(uri)
        found: list[tuple[TreeEntry, Callable[[], None]]] = []
        for upload in uploads_under(self._client, f"{uri}/"):
            entry = upload_entry(self._client, bucket, upload)
            found.append((entry, partial(abort_uploads, self._client, bucket, [upload])))
        return found

    def _list(self, prefix: str, kind: type[ScoringError]) -> list[ObjectInfo]:
        """Return all objects whose URI begins with ``prefix``, sorted by URI."""
        bucket, key = split(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        with translate_errors(prefix, kind):
            found = [item for page in pages for item in page.get("Contents", [])]
        infos = [
            ObjectInfo(f"s3://{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"'))
            for item in found
        ]
        return sorted(infos, key=lambda info: info.uri)

    def _read_whole(self, uri: str, take: Callable[[Iterator[bytes]], Taken]) -> Taken | None:
        """Return what ``take`` makes of the object's bytes; None if there is no object."""
        while True:
            try:
                return take(self._chunks(uri))
            except FileNotFoundError:
                return None
            except SourceReplacedError:
                continue  # what is there now is whole, too

    def _chunks(self, uri: str) -> Iterator[bytes]:
        reader = ObjectReader(self._client, uri)
        while chunk := reader.read(CHUNK_BYTES):
            yield chunk


def _age(answer: dict[str, Any], moment: datetime) -> float:
    """Return the seconds since ``moment`` when the server gave its answer, by the server's own
    clock.
    """
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return (now - moment).total_seconds()


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
