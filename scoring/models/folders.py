"""Models that are folders: one digest for all their files, and a local copy of verified bytes.

The digest is that of the text that ``sha256sum`` prints for the files, sorted by path::

    find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from scoring.errors import ModelError, quoted, raise_if_resource_error
from scoring.storage.base import Storage
from scoring.storage.temporary import TemporaryFolder

CHUNK_BYTES = 1 << 22
MOST_FILES = 10_000
"""A model has fewer; more are a folder of something else."""


class Folder(Protocol):
    """A folder of files, wherever it lies."""

    def paths(self) -> list[str]:
        """Return the paths of all files, relative to the folder."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of one file."""


class StoredFolder:
    """The folder ``uri`` of a storage."""

    def __init__(self, uri: str, storage: Storage) -> None:
        self._uri, self._storage = uri.rstrip("/"), storage

    def paths(self) -> list[str]:
        try:
            found = self._storage.files(self._uri)
        except OSError as error:
            raise_if_resource_error(error)
            raise ModelError(
                f"{error.filename or self._uri} cannot be read: {error.strerror}"
            ) from None
        return [file.uri.removeprefix(f"{self._uri}/") for file in found]

    def chunks(self, path: str) -> Iterator[bytes]:
        uri = f"{self._uri}/{path}"
        try:
            with self._storage.open(uri) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield bytes(chunk)
        except OSError as error:
            raise_if_resource_error(error)
            raise ModelError(f"{uri} cannot be read: {error.strerror or error}") from None


class LocalCopy:
    """A copy of a folder on this machine; gone with this object or its process."""

    def __init__(self, folder: Folder, name: str) -> None:
        folder_here = TemporaryFolder("model")
        self.path = Path(folder_here.name)
        self._finalize = weakref.finalize(self, _close, folder_here, os.getpid())
        try:
            self.sha256 = tree_digest(
                {path: self._copy(folder, path) for path in checked_paths(folder, name)}
            )
        except BaseException:
            self.close()
            raise

    def _copy(self, folder: Folder, path: str) -> str:
        target, digest = self.path / path, hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in folder.chunks(path):
                file.write(chunk)
                digest.update(chunk)
        return digest.hexdigest()

    def close(self) -> None:
        self._finalize()


def _close(folder: TemporaryFolder, process: int) -> None:
    if process == os.getpid():  # in a fork, the folder is still the parent's
        folder.close()


def tree_digest(digests: Mapping[str, str]) -> str:
    """Return the digest of a folder from those of its files, by their relative paths."""
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(folder: Folder, name: str) -> str:
    """Return the digest of ``folder``; ModelError, which names it, if it has no files."""
    return tree_digest({path: _sha256(folder.chunks(path)) for path in checked_paths(folder, name)})


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def checked_paths(folder: Folder, name: str) -> list[str]:
    """Return the paths of the files in ``folder``, none of which leads out of it.

    Raises ModelError where there are none, too many, or one that is not a plain path.
    """
    paths = folder.paths()
    if not paths:
        raise ModelError(f"there are no files in {name}; check its uri in model.versions")
    if len(paths) > MOST_FILES:
        raise ModelError(f"{name} has more than {MOST_FILES:,} files, so it is not a model")
    files = set(paths)
    for path in paths:
        parts = path.split("/")
        is_within_a_file = any("/".join(parts[:i]) in files for i in range(1, len(parts)))
        is_plain = "\\" not in path and path.isprintable() and not {"", ".", ".."} & set(parts)
        if is_within_a_file or not is_plain:
            raise ModelError(f"{name} has a file whose name is not allowed: {quoted(path, 200)}")
    return paths
