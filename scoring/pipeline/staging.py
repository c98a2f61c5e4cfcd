"""Staged tables: what the steps of a run hand to each other, under the destination's ``_staging``.

A staged table is an Arrow IPC stream, compressed with LZ4 and named by its digest in a ``Staged``
reference.  Readers check the digest first, so a torn or foreign file is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from tempfile import TemporaryFile, gettempdir
from typing import IO

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from scoring.errors import PublicationError, raise_if_resource_error
from scoring.storage.base import Pending, Storage, pending

FETCHED_AT_ONCE_BYTES = 16 << 20

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


class Staged(BaseModel):
    """A reference to a staged table, small enough for an XCom.

    ``number`` is the shard's place in the partition, from 0; ``rows`` counts the table's rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    uri: str
    rows: int
    sha256: str


class StagedWriter:
    """Appends tables to one staged object; all must have the schema of the first."""

    def __init__(self, number: int, uri: str, new: Pending) -> None:
        self.rows = 0
        self._number, self._uri, self._new = number, uri, new
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None

    def write(self, table: pa.Table) -> None:
        if self._stream is None:
            self._stream = pa.ipc.new_stream(self._new, table.schema, options=_OPTIONS)
        self._stream.write_table(table)
        self.rows += table.num_rows

    def close(self) -> Staged | None:
        """Make the object visible and return its reference; None if nothing was written."""
        if self._stream is None:
            return None
        self._stream.close()
        self._new.commit()
        return Staged(number=self._number, uri=self._uri, rows=self.rows, sha256=self._new.sha256)


@contextlib.contextmanager
def staged_writer(number: int, uri: str, storage: Storage) -> Iterator[StagedWriter]:
    """Yield a writer of the staged table ``uri``; without ``close``, nothing is left of it."""
    with pending(storage, uri) as new:
        yield StagedWriter(number, uri, new)


def read_staged(
    staged: Staged, storage: Storage, columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Yield the tables of a staged object in the order they were written, one chunk a column.

    Raises PublicationError if the object is gone, or is not the one that the reference means.
    """
    with _opened(staged, storage) as stream:
        for batch in stream:
            table = pa.Table.from_batches([batch])
            yield table if columns is None else table.select(columns)


def staged_schema(staged: Staged, storage: Storage) -> pa.Schema:
    """Return the columns of a staged object, which may be without rows.  Raises as ``read_staged``
    does.
    """
    with _opened(staged, storage) as stream:
        return stream.schema


@contextlib.contextmanager
def _opened(staged: Staged, storage: Storage) -> Iterator[pa.RecordBatchReader]:
    try:
        with _file(staged, storage) as file:
            _check_digest(file, staged)
            file.seek(0)
            yield pa.ipc.open_stream(file)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise PublicationError(
            f"the staged table {staged.uri} is missing or incomplete. "
            "Run the whole partition again (in Airflow: clear the run from its first task)"
        ) from error


@contextlib.contextmanager
def _file(staged: Staged, storage: Storage) -> Iterator[pa.NativeFile]:
    """Yield the staged object: a local file in place, a remote object as a temporary file, fetched
    once.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(storage.open(staged.uri))
        if "://" in staged.uri:
            copy = stack.enter_context(
                TemporaryFile(buffering=0)
            )  # nameless: a kill leaves nothing
            while chunk := file.read(FETCHED_AT_ONCE_BYTES):
                _append(chunk, copy)
            copy.seek(0)
            file = stack.enter_context(pa.PythonFile(copy, mode="r"))
        yield file


def _append(chunk: bytes, copy: IO[bytes]) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[copy.write(rest) :]
    except OSError as error:  # here, or it would be taken for one of what is being staged from it
        raise_if_resource_error(OSError(error.errno, error.strerror, gettempdir()))
        raise


def _check_digest(file: pa.NativeFile, staged: Staged) -> None:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    if digest.hexdigest() != staged.sha256:
        raise PublicationError(
            f"the staged table {staged.uri} differs from what the previous step wrote. "
            "Run the whole partition again (in Airflow: clear the run from its first task)"
        )
