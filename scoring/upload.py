"""Step 3 of 3: the staged predictions become the published partition, in one step for its readers.

The order makes a kill at any instant harmless: the quarantine (under its digest's name), the new
manifest (as ``.next-DIGEST``), the swap of the predictions, the swap of the manifest.  See
docs/decisions/0002-publication.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from glob import escape
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from scoring import columns
from scoring.contract import Accounts
from scoring.errors import PublicationError, ScoringError
from scoring.extract import Extraction, extraction_uri, load_extraction
from scoring.job import ADDED_COLUMNS
from scoring.manifest import (
    Manifest,
    ModelRecord,
    ObjectRecord,
    RowsRecord,
    code_version,
    package_versions,
)
from scoring.objects import Pending, Storage
from scoring.run import PartitionRun
from scoring.score import Scored, other_types
from scoring.staging import read_staged, staged_schema
from scoring.statistics import PredictionStatistics
from scoring.storage import pending, write

OnRows = Callable[[int], None]


def upload(
    run: PartitionRun,
    scored: Iterable[Scored],
    evidence: dict[str, str],
    on_rows: OnRows = lambda rows: None,
) -> Manifest:
    """Publishes the partition from its ``scored`` shards, in the order of their numbers.

    ``evidence`` says who ran this (for the manifest's ``run``); ``on_rows`` is called with each
    number of rows joined.  Readers get the old partition until the predictions are swapped, and the
    new one from then on.  The staging is removed at the end.  When an Airflow run (``run_id`` in
    ``evidence``) calls this again after it has published, that is done: its manifest is returned.

    Raises PublicationError if shards are missing or changed, if rows do not add up by count or by
    key, or if another process publishes this partition; ContractError as extract does.
    """
    started = time.monotonic()
    storage, destination = run.storage, run.destination
    done = _published_before(run, evidence, storage)
    if done is not None:
        storage.remove_tree(run.staging)
        return done
    extraction = load_extraction(run)
    lock, what = destination.lock(run.partition), f"{run.job.name} {run.partition.key}"
    with (
        storage.claim(lock, what),
        pending(storage, destination.output(run.partition), replaces_current=True) as output,
    ):
        left_by_others = _left_by_others(run)
        with _Joined(run, extraction, output) as joined:
            for shard in scored:
                on_rows(joined.add(shard))
            joined.close()
        aside = _publish_quarantine(run, joined, storage)
        manifest = _manifest(run, joined, aside, evidence, time.monotonic() - started)
        waiting = _swap(run, manifest, output, storage)
        kept = manifest.quarantine.uri if manifest.quarantine else None
        for uri in {*left_by_others, waiting} - {kept}:
            storage.remove(uri)
    storage.remove(extraction_uri(run))  # first, so that it is never there without its shards
    storage.remove_tree(run.staging)
    return manifest


def _published_before(
    run: PartitionRun, evidence: dict[str, str], storage: Storage
) -> Manifest | None:
    """What this very Airflow run has published, if it was killed after that and tries again."""
    if "run_id" not in evidence or storage.read(extraction_uri(run)) is not None:
        return None
    manifest = run.destination.published(run.partition)
    same = manifest and all(manifest.run.get(k) == evidence.get(k) for k in ("dag_id", "run_id"))
    return manifest if same else None


class _Joined:
    """The published table as it grows, and the accounts that must come out even."""

    def __init__(self, run: PartitionRun, extraction: Extraction, output: Pending) -> None:
        self.run = run
        self.extraction = extraction
        self.accounts: Accounts = extraction.accounts
        self.accounts.examples_per_rule = run.job.checks.examples
        self.output = output
        self.rows = 0
        self.key_sum = 0
        self.seconds = {"extract": extraction.seconds, "score": 0.0}
        self.saved_with_sklearn: str | None = None
        self.statistics = {
            name: PredictionStatistics()
            for name in [run.job.output.prediction, *run.job.output.probabilities]
        }
        self.asides = [extraction.quarantine] if extraction.quarantine else []
        self._writer: pq.ParquetWriter | None = None
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # However the block ends: a writer that is still open would write once more when it is
        # collected, to a file that is closed by then.
        if self._writer is not None:
            self._writer.close()

    def add(self, scored: Scored) -> int:
        """Appends a shard, which must be the next one; returns how many rows that were."""
        shards = self.extraction.shards
        if scored.number != self._next or scored.number >= len(shards):
            raise self._uneven(
                f"shard {scored.number} came where shard {self._next} of {len(shards)} belongs"
            )
        if scored.scorer_sha256 != self.extraction.scorer_sha256:
            raise self._uneven(f"the scorer was changed before shard {scored.number} was scored")
        before = self.rows
        for table in (
            read_staged(scored.predictions, self.run.storage) if scored.predictions else ()
        ):
            self._write(table)
        set_aside = scored.quarantine.rows if scored.quarantine else 0
        if self.rows - before + set_aside != shards[scored.number].rows:
            raise self._uneven(
                f"shard {scored.number} has {shards[scored.number].rows:,} rows, of which "
                f"{self.rows - before:,} were scored and {set_aside:,} set aside"
            )
        if scored.quarantine:
            self.asides.append(scored.quarantine)
            for table in read_staged(scored.quarantine, self.run.storage):
                self.accounts.add(table)
                self.key_sum += self._keys_of(table)
        self.saved_with_sklearn = scored.saved_with_sklearn
        self.seconds["score"] += scored.seconds
        self._next += 1
        return shards[scored.number].rows

    def close(self) -> None:
        """Ends the table; raises if rows do not add up or too many are quarantined."""
        if self._next != len(self.extraction.shards):
            raise self._uneven(f"{self._next} of {len(self.extraction.shards)} shards were scored")
        if self._writer is None:
            self._write(self._empty_table())
        assert self._writer is not None
        self._writer.close()
        if self.rows + self.accounts.rows_quarantined != self.accounts.rows_in:
            raise self._uneven(
                f"{self.accounts.rows_in:,} rows came in, {self.rows:,} were scored and "
                f"{self.accounts.rows_quarantined:,} quarantined"
            )
        if self.key_sum % (1 << 64) != self.extraction.key_sum:
            raise self._uneven("the row ids at the end are not those of the start")
        self.accounts.check(self.run.job, self.run.partition)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = _parquet_writer(self.output, table.schema)
        if table.schema != self._writer.schema:
            raise other_types(self.run, table.schema, self._writer.schema)
        self._writer.write_table(table)
        self.rows += table.num_rows
        self.key_sum += self._keys_of(table)
        for name, statistics in self.statistics.items():
            statistics.add(columns.single(table, name))

    def _keys_of(self, table: pa.Table) -> int:
        ids = [columns.single(table, name) for name in self.run.job.row_id]
        return int(columns.hash_rows(ids).sum())

    def _empty_table(self) -> pa.Table:
        """The table of a partition without scored rows: predictions would have been numbers."""
        staged, output = (
            staged_schema(self.extraction.shards[0], self.run.storage),
            self.run.job.output,
        )
        fields = {name: staged.field(name).type for name in self.run.job.row_id}
        fields |= dict.fromkeys(self.statistics, pa.float64())
        fields |= {name: staged.field(name).type for name in output.keep}
        fields |= dict.fromkeys(ADDED_COLUMNS, pa.string())
        return pa.schema(fields).empty_table()

    def _uneven(self, what: str) -> PublicationError:
        return PublicationError(
            f"{self.run.job.name} {self.run.partition.key}: {what}; nothing was published. Run the "
            "whole partition again (in Airflow: clear the run from its first task)"
        )


def _parquet_writer(output: Pending, schema: pa.Schema) -> pq.ParquetWriter:
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


def _publish_quarantine(
    run: PartitionRun, joined: _Joined, storage: Storage
) -> ObjectRecord | None:
    """The quarantined rows of all steps as one parquet object, named by its digest."""
    tables = (table for aside in joined.asides for table in read_staged(aside, storage))
    first = next(tables, None)
    if first is None:
        return None
    uri = f"{run.staging}/quarantine.parquet"
    with pending(storage, uri) as new:
        with pq.ParquetWriter(new, first.schema, compression="zstd", store_schema=False) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table.cast(first.schema))
        new.commit()
    named = run.destination.quarantine(run.partition, new.sha256)
    storage.move(uri, named)
    return ObjectRecord(uri=named, bytes=new.size, sha256=new.sha256)


def _left_by_others(run: PartitionRun) -> list[str]:
    """What is no more needed once this run's predictions stand: older quarantines and manifests.

    Listed before the swap.  Another publisher's that are among them lose with it, as the swap of
    predictions that it saw replaced fails; those it makes after this swap are not among them.
    """
    folder = escape(run.destination.quarantines(run.partition))
    quarantines = run.storage.find(f"{folder}/*.parquet")
    return [f.uri for f in quarantines] + run.destination.next_manifests(run.partition.path)


def _swap(run: PartitionRun, manifest: Manifest, output: Pending, storage: Storage) -> str:
    """Publishes the predictions and their manifest; returns where the manifest waited meanwhile."""
    path, data = run.partition.path, manifest.to_json().encode()
    waiting = run.destination.next_manifest(path, manifest.output.sha256)
    new = f"{run.staging}/manifest.json"
    write(storage, new, data)
    storage.move(new, waiting)
    try:
        output.commit()
    except PublicationError:
        # A server that died may have swapped them and not said so: then the manifest waits for the
        # next try.  Where nobody can be asked, it waits too; readers go by its digest.
        with contextlib.suppress(ScoringError):
            if storage.sha256(manifest.output.uri) != manifest.output.sha256:
                storage.remove(waiting)
        raise
    storage.write_beside(run.destination.manifest(path), data, output)
    return waiting


def _manifest(
    run: PartitionRun,
    joined: _Joined,
    aside: ObjectRecord | None,
    evidence: dict[str, str],
    seconds: float,
) -> Manifest:
    extraction, accounts = joined.extraction, joined.accounts
    rows: dict[str, Any] = {
        "in": accounts.rows_in,
        "scored": joined.rows,
        "quarantined": accounts.rows_quarantined,
        "reasons": accounts.quarantined,
    }
    return Manifest(
        job=run.job.name,
        job_sha256=run.job_file.sha256,
        partition=run.partition.key,
        interval_start=run.partition.start.isoformat(),
        interval_end=run.partition.end.isoformat(),
        model=ModelRecord(
            **extraction.model.model_dump(), saved_with_sklearn=joined.saved_with_sklearn
        ),
        scorer_sha256=extraction.scorer_sha256,
        source=extraction.source,
        rows=RowsRecord(**rows),
        output=ObjectRecord(
            uri=run.destination.output(run.partition),
            bytes=joined.output.size,
            sha256=joined.output.sha256,
        ),
        quarantine=aside,
        statistics={name: s.result() for name, s in joined.statistics.items()},
        run=evidence,
        code_version=code_version(),
        packages=package_versions(),
        durations_seconds=joined.seconds | {"upload": seconds},
    )


def in_order(scored: Iterable[Scored]) -> Iterator[Scored]:
    """``scored`` by shard number: Airflow hands mapped results over in any order."""
    yield from sorted(scored, key=lambda s: s.number)
