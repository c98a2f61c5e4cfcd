"""Files as a storage: a reader never sees half of an object.

``LocalStorage`` is ``storage.base.Storage`` on a file system.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from scoring.errors import PublicationError, ReplacedMeanwhileError
from scoring.storage.base import ObjectInfo, Pending, TreeEntry, Unchanged, cannot_write

if TYPE_CHECKING:
    import pyarrow as pa


FILE_MODE, FOLDER_MODE = 0o644, 0o755
"""The most that anybody may do, whatever the umask; it takes away from that, as always."""


_HIDDEN = r"\..+\.[0-9a-f]{16}\.tmp"  # a file that is being written


class LocalStorage:
    """Plain files: written beside the target under a hidden name, flushed to disk, then renamed."""

    def find(self, pattern: str) -> list[ObjectInfo]:
        found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
        # As a set: glob finds a file once for each way in which `**/**` leads to it.
        return [_object_info(p) for p in sorted({*found}) if os.path.isfile(p)]

    def identify(self, found: ObjectInfo) -> ObjectInfo:
        return replace(found, sha256=self.sha256(found.uri))

    def open(self, uri: str) -> pa.NativeFile:
        from pyarrow import OSFile  # here, as Airflow imports this module for every Dag file parse

        return OSFile(uri)

    def read(self, uri: str) -> bytes | None:
        try:
            return Path(uri).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sha256(self, uri: str) -> str | None:
        try:
            with open(uri, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def version(self, uri: str) -> str | None:
        try:
            return _version(os.stat(uri))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, uri: str, condition: Unchanged | None = None) -> Pending:
        _make_folder(os.path.dirname(uri))
        _remove_abandoned(uri)
        return _PendingFile(uri, condition)

    def move(self, source: str, target: str) -> None:
        _make_folder(os.path.dirname(target))
        os.replace(source, target)
        _flush_folder(target)

    def remove(self, uri: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(uri)

    def remove_tree(self, uri: str) -> None:
        shutil.rmtree(uri, ignore_errors=True)

    def tree(self, uri: str) -> list[TreeEntry]:
        now = _now()
        found = []
        for folder, _, files in os.walk(uri):
            for name in files:
                path = os.path.join(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    status = os.lstat(path)
                    found.append(TreeEntry(path, status.st_size, now - status.st_mtime))
        return sorted(found, key=lambda entry: entry.uri)

    def files(self, uri: str) -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(uri) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise OSError(errno.ELOOP, "links are not followed", entry.path)
                if entry.is_dir():
                    found += self.files(entry.path)
                elif entry.is_file():
                    found.append(ObjectInfo(entry.path, entry.stat().st_size))
                else:
                    raise OSError(errno.EINVAL, "neither a file nor a folder", entry.path)
        return sorted(found, key=lambda file: file.uri)

    def listing(self, prefix: str) -> list[ObjectInfo]:
        found = []
        for folder, _, files in os.walk(os.path.dirname(prefix)):
            for name in files:
                path = os.path.join(folder, name)
                if path.startswith(prefix) and not re.fullmatch(_HIDDEN, name):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(path)
                        found.append(replace(_object_info(path, status), etag=_version(status)))
        return sorted(found, key=lambda file: file.uri)

    def unfinished(self, uri: str) -> list[tuple[TreeEntry, Callable[[], None]]]:
        return [
            (entry, partial(_remove_if_abandoned, entry.uri))
            for entry in self.tree(uri)
            if re.fullmatch(_HIDDEN, os.path.basename(entry.uri)) and not is_held(entry.uri)
        ]


def _object_info(path: str, status: os.stat_result | None = None) -> ObjectInfo:
    status = status or os.stat(path)
    return ObjectInfo(path, status.st_size, modified_ns=status.st_mtime_ns)


def is_held(uri: str) -> bool:
    """Return whether a living process has locked the file."""
    with contextlib.suppress(FileNotFoundError):
        lock = os.open(uri, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
    return False


def _now() -> float:
    """Return the present, as the file system would note it: nothing here reads a clock of its own."""
    with tempfile.TemporaryFile() as new:
        return os.fstat(new.fileno()).st_mtime


@contextlib.contextmanager
def exclusive(uri: str, what: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file ``uri``; PublicationError, which names ``what``, if another process holds
    it.

    With ``wait`` it is waited for instead.

    Does nothing for a URI outside the file system: conditional writes decide between writers there,
    and a lock would outlive a killed one.
    """
    if "://" in uri:
        yield
        return
    try:
        _make_folder(os.path.dirname(uri))
        lock = os.open(uri, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise cannot_write(uri, error) from None
    try:  # the lock is the kernel's: it ends with its process, however that ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise PublicationError(
                f"{what} is being written by another process, which holds {uri}; "
                "nothing was changed by this one: try again when that one has ended"
            ) from None
        if not _is_same(lock, uri):  # removed between the two steps, by its holder who has ended
            os.close(lock)
            with exclusive(uri, what, wait):
                lock = -1
                yield
            return
        yield
    finally:
        if lock != -1:
            os.close(lock)


def _is_same(opened: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), os.lstat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def without_new_folders(uri: str) -> Iterator[None]:
    """Remove the folders of ``uri`` that were made within the block, where they are still empty."""
    missing = []
    folder = os.path.dirname(uri)
    while "://" not in uri and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


class _PendingFile:
    """A file under a hidden temporary name, hashed as it is written."""

    def __init__(self, uri: str, condition: Unchanged | None) -> None:
        self.size = 0
        self.version: str | None = None
        self._uri, self._condition = uri, condition
        self._digest = hashlib.sha256()
        folder, name = os.path.split(uri)
        self._temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
        self._file: BinaryIO = open(self._temporary, "xb", opener=_opener)  # noqa: SIM115
        # Held while the writer lives, in whatever container: later writers see it by that.
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._digest.update(data)
        self.size += written
        return written

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def flush(self) -> None:
        self._file.flush()

    def commit(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._condition and LocalStorage().version(self._uri) != self._condition.version:
            raise ReplacedMeanwhileError(
                f"{self._uri} was written by another process in the meantime; that one's stays, "
                "and nothing was changed by this one: run it again"
            )
        self.version = _version(os.fstat(self._file.fileno()))
        os.replace(self._temporary, self._uri)
        self._file.close()
        _flush_folder(self._uri)

    def abort(self) -> None:
        with contextlib.suppress(OSError):  # a full disk refuses the last bytes once more
            self._file.close()
        with contextlib.suppress(FileNotFoundError):  # committed
            os.remove(self._temporary)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)


def _make_folder(path: str) -> None:
    """Make ``path`` and the missing folders above it: ``os.makedirs`` gives modes to the last one
    only.
    """
    above = os.path.dirname(path)
    if above not in ("", path) and not os.path.exists(above):
        _make_folder(above)
    try:
        os.mkdir(path, FOLDER_MODE)
    except OSError:  # whatever it is where the folder is there: read-only, for one
        if not os.path.isdir(path):
            raise


def _version(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def _flush_folder(path: str) -> None:
    """Make a rename in this folder outlast a power failure."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_abandoned(uri: str) -> None:
    """Remove what killed writers of ``uri`` left behind: the files that nobody holds any more."""
    folder, name = os.path.split(uri)
    for file in os.listdir(folder):
        if file.startswith(f".{name}.") and re.fullmatch(_HIDDEN, file):
            _remove_if_abandoned(os.path.join(folder, file))


def _remove_if_abandoned(path: str) -> None:
    with contextlib.suppress(FileNotFoundError, BlockingIOError), open(path, "rb+") as left:
        fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.remove(path)
