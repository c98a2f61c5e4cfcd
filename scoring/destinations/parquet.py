"""Parquet files as a destination: one for each partition, swapped in one step.

The order makes a kill at any instant harmless: the quarantine (under its digest's name), the new
manifest (as ``.next-DIGEST``), the swap of the predictions, the swap of the manifest.  See
docs/decisions/0002-publication.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from glob import escape
from itertools import chain
from typing import TYPE_CHECKING

from scoring.destinations.catalog import Catalog, read_catalog
from scoring.destinations.layout import NEXT, Layout
from scoring.destinations.manifest import Manifest, ObjectRecord, parse_manifest
from scoring.destinations.owner import check_owner
from scoring.destinations.published import all_published, published, waiting_manifests
from scoring.errors import (
    NewerPublicationError,
    PublicationError,
    ReplacedMeanwhileError,
    ScoringError,
)
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.storage.base import Pending, Storage, TreeEntry, Unchanged, pending, write
from scoring.storage.connections import Connections
from scoring.storage.local import exclusive

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class ParquetPublisher:
    """Publishes under ``uri``; a ``Publisher``."""

    def __init__(self, job: Job, roots: Roots, connections: Connections) -> None:
        self.layout = Layout.of(job, roots)
        self.storage = connections.storage(self.layout.uri, job.destination.encryption)
        self._job = job

    @property
    def uri(self) -> str:
        return self.layout.uri

    @property
    def staging(self) -> str:
        return self.layout.staging

    @property
    def held(self) -> str:
        return self.layout.held

    @property
    def evaluations(self) -> str:
        return self.layout.evaluations

    def published(self, partition: Partition) -> Manifest | None:
        """See ``Publisher``."""
        return published(self.layout, self.storage, partition.path)

    def all_published(self) -> Iterator[Manifest]:
        """See ``Publisher``."""
        return all_published(self.layout, self.storage)

    def catalog(self) -> Catalog:
        """Return all that is published at once, by the index where that is possible."""
        return read_catalog(self.layout, self.storage)

    def columns(self, but: Partition | None = None) -> pa.Schema | None:
        """See ``Publisher``."""
        from scoring.destinations.columns import read_columns

        other = self.any_published(but)
        return read_columns(self.layout, self.storage, other) if other else None

    def any_published(self, but: Partition | None) -> Manifest | None:
        """Return the manifest of some published partition that is not ``but``."""
        found = (m for m in self.all_published() if but is None or m.partition != but.key)
        return next(found, None)

    def mark(self, partition: Partition) -> str | None:
        """See ``Publisher``: the identity of the manifest in force."""
        found = self.check_owner(partition)
        return found.identity if found else None

    def check_owner(self, partition: Partition) -> Manifest | None:
        """Return what is published for ``partition``; DestinationTakenError where another job
        publishes.
        """
        return check_owner(self.layout, self.storage, partition.path, self._job)

    def check_writable(self, partition: Partition) -> None:
        """See ``Publisher``."""
        output = self.layout.output(partition)
        with pending(self.storage, output, Unchanged(self.storage.version(output))):
            pass

    @contextlib.contextmanager
    def begin(
        self,
        partition: Partition,
        mark: str | None,
        run: Mapping[str, str],
        work: str,
        replace_newer: bool = False,
    ) -> Iterator[ParquetPublication]:
        """See ``Publisher``."""
        output = self.layout.output(partition)
        with exclusive(self.layout.lock(partition), f"{self._job.name} {partition.key}"):
            version = self.storage.version(output)  # before the look: who swaps after it is noticed
            newer = _newer_than(self.check_owner(partition), mark, run)
            if newer is not None and not replace_newer:
                raise self._refused(partition, newer, run)
            with pending(self.storage, output, Unchanged(version)) as new:
                publication = ParquetPublication(self, partition, new, work, newer)
                try:
                    yield publication
                except ReplacedMeanwhileError:
                    newer = _newer_than(self.check_owner(partition), mark, run)
                    if newer is None or replace_newer:
                        raise
                    raise self._refused(partition, newer, run) from None
                finally:
                    publication.abort()

    def unpublished(
        self, at_work: Callable[[], set[str]]
    ) -> list[tuple[TreeEntry, Callable[[], None]]]:
        """Return what killed publishers have left beside what is published, and how to remove it.

        ``at_work`` gives the paths of the partitions that are being scored, of which nothing is
        listed. It is called after the first look: what is new since then belongs to them.
        """
        of, storage = self.layout, self.storage
        beside = (f"{of.uri}/_quarantine", f"{of.uri}/_left_out", of.manifests)
        found = [left for left in storage.unfinished(of.uri) if not self._is_staged(left[0])]
        found += [
            (entry, partial(storage.remove, entry.uri))
            for entry in chain.from_iterable(map(storage.tree, beside))
            if entry.uri.endswith(".parquet") or NEXT in entry.uri
        ]
        busy, needed = at_work(), set()
        for path in {of.path_of(entry.uri) for entry, _ in found}:
            manifest = published(of, storage, path)
            needed |= {record.uri for record in manifest.beside} if manifest else set()
            if manifest and not self._is_in_place(manifest, path):  # its ``.next-`` is the true one
                needed.add(of.next_manifest(path, manifest.output.sha256))
        return [
            (entry, remove)
            for entry, remove in found
            if of.path_of(entry.uri) not in busy and entry.uri not in needed
        ]

    def _is_in_place(self, manifest: Manifest, path: str) -> bool:
        uri = self.layout.manifest(path)
        data = self.storage.read(uri)
        return data is not None and parse_manifest(data, uri).identity == manifest.identity

    def _is_staged(self, entry: TreeEntry) -> bool:
        return entry.uri.startswith(f"{self.layout.staging}/")

    def _refused(
        self, partition: Partition, newer: Manifest, run: Mapping[str, str]
    ) -> NewerPublicationError:
        return NewerPublicationError(
            f"{self._job.name} {partition.key}: {newer.publisher} has published this "
            f"{partition.kind} with model version {newer.model.version}, after "
            f"{Manifest.publisher_of(run)} had read the source. The newer publication stands; "
            "nothing was changed. Run the whole partition again (in Airflow: clear the run from "
            "its first task). A run that was started with --force, in "
            'Airflow with {"replace_newer": true} in its conf, replaces what others publish meanwhile'
        )


def _newer_than(
    found: Manifest | None, mark: str | None, run: Mapping[str, str]
) -> Manifest | None:
    """Return ``found`` if another run has published it since ``mark``; None for an earlier try of
    this run.
    """
    if found is None or found.identity == mark or found.is_of(run):
        return None
    return found


class ParquetPublication:
    """A partition on its way; a ``Publication``."""

    def __init__(
        self,
        publisher: ParquetPublisher,
        partition: Partition,
        output: Pending,
        work: str,
        replaced: Manifest | None,
    ) -> None:
        self._layout, self._storage = publisher.layout, publisher.storage
        self._partition, self._output, self._work = partition, output, work
        self._replaced = replaced
        self._publisher = publisher
        self._columns: pa.Schema | None = None
        self._writer: pq.ParquetWriter | None = None
        self._left_by_others = _left_by_others(self._layout, self._storage, partition)

    def write(self, table: pa.Table) -> None:
        """See ``Publication``."""
        if self._writer is None:
            self._columns = table.schema
            self._writer = _parquet_writer(self._output, table.schema)
        self._writer.write_table(table)

    def close(self) -> ObjectRecord:
        """See ``Publication``."""
        assert self._writer is not None  # a table without rows is written, too
        self._writer.close()
        return ObjectRecord(
            uri=self._layout.output(self._partition),
            bytes=self._output.size,
            sha256=self._output.sha256,
        )

    def write_quarantine(self, tables: Iterator[pa.Table]) -> ObjectRecord | None:
        """See ``Publication``: one parquet file, named by its digest."""
        return self._write_beside("quarantine", self._layout.quarantine, tables)

    def write_left_out(self, tables: Iterator[pa.Table]) -> ObjectRecord | None:
        """See ``Publication``: one parquet file, named by its digest."""
        return self._write_beside("left_out", self._layout.left_out, tables)

    def _write_beside(
        self, name: str, named: Callable[[Partition, str], str], tables: Iterator[pa.Table]
    ) -> ObjectRecord | None:
        import pyarrow.parquet as pq

        first = next(tables, None)
        if first is None:
            return None
        uri = f"{self._work}/{name}.parquet"
        with pending(self._storage, uri) as new:
            with pq.ParquetWriter(
                new, first.schema, compression="zstd", store_schema=False
            ) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table.cast(first.schema))
            new.commit()
        final = named(self._partition, new.sha256)
        self._storage.move(uri, final)
        return ObjectRecord(uri=final, bytes=new.size, sha256=new.sha256)

    def commit(self, manifest: Manifest) -> Manifest:
        """See ``Publication``."""
        self._publisher.check_owner(self._partition)
        if self._replaced is not None:
            replaced = {"replaced_newer": self._replaced.publisher}
            manifest = manifest.model_copy(update={"run": manifest.run | replaced})
        self._keep_columns()
        waiting = self._swap(manifest)
        kept = {record.uri for record in manifest.beside}
        for uri in {*self._left_by_others, waiting} - kept:
            self._storage.remove(uri)
        return manifest

    def abort(self) -> None:
        """See ``Publication``."""
        # A writer that is still open would write once more when it is collected, to a closed file.
        if self._writer is not None:
            self._writer.close()
        self._output.abort()

    def _keep_columns(self) -> None:
        """Keep the column types for the partitions to come; before the swap, as they decide whether
        it may be.
        """
        from scoring.destinations.columns import add_columns

        assert self._columns is not None
        lock, name = self._layout.columns_lock, f"the column types of {self._layout.uri}"
        with exclusive(lock, name, wait=True):
            alone = self._publisher.any_published(self._partition) is None
            add_columns(self._layout, self._storage, self._columns, alone)

    def _swap(self, manifest: Manifest) -> str:
        """Publish the predictions and their manifest; returns where the manifest waited meanwhile."""
        path, data, storage = self._partition.path, manifest.to_json().encode(), self._storage
        waiting = self._layout.next_manifest(path, manifest.output.sha256)
        new = f"{self._work}/manifest.json"
        write(storage, new, data)
        storage.move(new, waiting)
        try:
            self._output.commit()
        except PublicationError:
            # A server that died may have swapped them and not said so: then the manifest waits for
            # the next try.  Where nobody can be asked, it waits too; readers go by its digest.
            with contextlib.suppress(ScoringError):
                if storage.sha256(manifest.output.uri) != manifest.output.sha256:
                    storage.remove(waiting)
            raise
        self._write_manifest(self._layout.manifest(path), data, manifest.output.uri)
        return waiting

    def _write_manifest(self, uri: str, data: bytes, output: str) -> None:
        """Write the manifest while the predictions are still those that were committed here."""
        # The manifest's version is noted before the predictions' is looked at: a process that swaps
        # them after that look writes the manifest later than this, or makes this write fail.
        while True:
            unchanged = Unchanged(self._storage.version(uri))
            if self._storage.version(output) != self._output.version:
                raise PublicationError(
                    f"{output} was replaced by another process right after this one had "
                    "written it; that one's stays"
                )
            with (
                contextlib.suppress(ReplacedMeanwhileError),
                pending(self._storage, uri, unchanged) as new,
            ):
                new.write(data)
                new.commit()
                return


def _left_by_others(layout: Layout, storage: Storage, partition: Partition) -> list[str]:
    """Return what is no longer needed once these predictions stand: older quarantines, left-out
    rows and manifests.

    Listed before the swap.  Another publisher's that are among them lose with it, as the swap of
    predictions that it saw replaced fails; those it makes after this swap are not among them.
    """
    folders = (layout.quarantines(partition), layout.left_outs(partition))
    rows = [f.uri for folder in folders for f in storage.find(f"{escape(folder)}/*.parquet")]
    return rows + waiting_manifests(layout, storage, partition.path)


def _parquet_writer(output: Pending, schema: pa.Schema) -> pq.ParquetWriter:
    # Imported here: a reader of what is published needs none of it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    repetitive = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    return pq.ParquetWriter(
        output,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=repetitive,
        # Without Arrow's own schema every reader sees plain text columns, whatever wrote them.
        store_schema=False,
    )
