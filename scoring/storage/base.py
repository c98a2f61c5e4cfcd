"""What the package asks of any storage: objects at URIs, of which a reader never sees a half.

``storage.local`` does it with files, ``storage.s3`` with S3; ``storage.https`` only reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from scoring.errors import PublicationError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ObjectInfo:
    """An object that exists: its URI, its size in bytes, and what identifies its bytes.

    ``modified_ns`` is when a file was last changed, as the file system notes it.
    """

    uri: str
    bytes: int
    etag: str | None = None
    sha256: str | None = None
    modified_ns: int | None = None


@dataclass(frozen=True)
class TreeEntry:
    """Something that takes room: a file, an object, or (with a trailing ``?upload``) parts of one.

    ``age_seconds`` is counted by the storage's own clock, from the last change.
    """

    uri: str
    bytes: int
    age_seconds: float


@dataclass(frozen=True)
class Encryption:
    """Server-side encryption in S3: ``AES256`` or ``aws:kms``, and for that the key's id."""

    sse: str
    kms_key_id: str | None = None

    @property
    def parameters(self) -> dict[str, str]:
        key = {"SSEKMSKeyId": self.kms_key_id} if self.kms_key_id else {}
        return {"ServerSideEncryption": self.sse, **key}


@dataclass(frozen=True)
class Unchanged:
    """The condition that an object is still of ``version``; None: that there is no object."""

    version: str | None


class Pending(Protocol):
    """An object that is being written: invisible until ``commit``, gone on ``abort``.

    ``version`` is the object's own once it is committed.
    """

    size: int
    version: str | None

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
        """Return the objects whose URI matches ``pattern`` (``*``, ``?``, ``[…]``, ``**``), sorted
        by URI.

        The object whose URI is ``pattern`` to the letter, if there is one, is the only one.
        """

    def identify(self, found: ObjectInfo) -> ObjectInfo:
        """Return ``found`` with a mark of its bytes: their digest, or an ETag that is as good as
        one.
        """

    def sha256(self, uri: str) -> str | None:
        """Return the digest of the object's bytes, or None where there is none."""

    def open(self, uri: str) -> pa.NativeFile:
        """Return the object, for reading at any position.  Raises FileNotFoundError."""


class Storage(ReadableStorage, Protocol):
    """Where objects are staged and published, too."""

    def read(self, uri: str) -> bytes | None:
        """Return all bytes of a small object, or None where there is none."""

    def version(self, uri: str) -> str | None:
        """Return a mark of the object that is there now, which another one will not have; None if
        none is.
        """

    def create(self, uri: str, condition: Unchanged | None = None) -> Pending:
        """Begin an object; ``pending(storage, uri)`` is the safe way to use this.

        With a ``condition``, the commit raises ReplacedMeanwhileError and changes nothing where it
        does not hold.  Files are compared and then replaced, so writers that may meet have to hold
        ``storage.local.exclusive``; S3 does both in one step.
        """

    def move(self, source: str, target: str) -> None:
        """Make ``target`` what ``source`` was, in one step."""

    def remove(self, uri: str) -> None:
        """Remove the object, if it is there."""

    def remove_tree(self, uri: str) -> None:
        """Remove everything under ``uri``, if it is there."""

    def tree(self, uri: str) -> list[TreeEntry]:
        """Return everything under ``uri``, also what is hidden or not completed."""

    def files(self, uri: str) -> list[ObjectInfo]:
        """Return all objects under the folder ``uri``, hidden ones too, sorted by URI.

        Raises OSError for a link or anything else that is neither a file nor a folder.
        """

    def listing(self, prefix: str) -> list[ObjectInfo]:
        """Return all objects whose URI begins with ``prefix``, sorted by URI.

        Each has an ``etag`` that another version of it will not have. Other processes may write and
        remove objects meanwhile.
        """

    def unfinished(self, uri: str) -> list[tuple[TreeEntry, Callable[[], None]]]:
        """Return what writers under ``uri`` have not completed, and how to remove it: on disk that
        of killed ones alone; in S3 nothing shows it."""


@contextlib.contextmanager
def pending(storage: Storage, uri: str, condition: Unchanged | None = None) -> Iterator[Pending]:
    """Yield an object to write and to ``commit``; without a commit, discard it."""
    try:
        new = storage.create(uri, condition)
    except OSError as error:
        raise cannot_write(uri, error) from None
    try:
        yield new
    except OSError as error:
        raise cannot_write(uri, error) from error
    finally:
        new.abort()


def write(storage: Storage, uri: str, data: bytes) -> None:
    """Make ``data`` the whole of the object at ``uri``, in one step."""
    with pending(storage, uri) as new:
        new.write(data)
        new.commit()


def cannot_write(uri: str, error: OSError) -> PublicationError:
    why = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        why = f"{error.filename} is not a folder"
    return PublicationError(f"{uri} cannot be written: {why}")
