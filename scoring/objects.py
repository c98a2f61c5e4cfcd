"""What the package asks of any storage: objects at URIs, of which a reader never sees a half.

``scoring.storage`` does it with files, ``scoring.s3`` with S3; ``scoring.https`` only reads.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ObjectInfo:
    """An object that exists: its URI, its size in bytes, and what tells its bytes from others."""

    uri: str
    bytes: int
    etag: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Encryption:
    """Server-side encryption in S3: ``AES256`` or ``aws:kms``, and for that the key's id."""

    sse: str
    kms_key_id: str | None = None

    @property
    def parameters(self) -> dict[str, str]:
        key = {"SSEKMSKeyId": self.kms_key_id} if self.kms_key_id else {}
        return {"ServerSideEncryption": self.sse, **key}


class Pending(Protocol):
    """An object that is being written: invisible until ``commit``, gone on ``abort``."""

    size: int

    def write(self, data: bytes) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    def commit(self) -> None: ...
    def abort(self) -> None: ...


class ReadableStorage(Protocol):
    """Where sources live; every URI is absolute."""

    def find(self, pattern: str) -> list[ObjectInfo]:
        """The objects whose URI matches ``pattern`` (``*``, ``?``, ``[…]``, ``**``), sorted by URI."""

    def identify(self, found: ObjectInfo) -> ObjectInfo:
        """``found`` with a mark of its bytes: their digest, or an ETag that is as good as one."""

    def sha256(self, uri: str) -> str | None:
        """The digest of the object's bytes, or None where there is none."""

    def open(self, uri: str) -> pa.NativeFile:
        """The object, for reading at any position.  Raises FileNotFoundError."""


class Storage(ReadableStorage, Protocol):
    """Where objects are staged and published, too."""

    def read(self, uri: str) -> bytes | None:
        """All bytes of a small object, or None where there is none."""

    def create(self, uri: str, replaces_current: bool = False) -> Pending:
        """Begins an object; ``pending(storage, uri)`` is the safe way to use this.

        ``replaces_current``: the commit raises PublicationError, and changes nothing, if another
        writer has replaced the object since this call (or holds the claim, where that decides).
        """

    def move(self, source: str, target: str) -> None:
        """Makes ``target`` what ``source`` was, in one step."""

    def remove(self, uri: str) -> None:
        """Removes the object, if it is there."""

    def remove_tree(self, uri: str) -> None:
        """Removes everything under ``uri``, if it is there."""

    def claim(self, uri: str, what: str) -> AbstractContextManager[None]:
        """Holds ``uri`` against all other writers; PublicationError if another holds it now.

        Storage whose writes are conditional needs no claim: there, the first commit wins.
        """

    def write_beside(self, uri: str, data: bytes, committed: Pending) -> None:
        """Makes ``data`` the object at ``uri`` while ``committed`` is still what it was committed as.

        Raises PublicationError if another writer has replaced it since.
        """
