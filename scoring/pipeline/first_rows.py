"""The first rows of a partition, read, checked and scored as a run does it; nothing is staged.

For the rehearsal of a run (``check --deep``), and for a look at single rows (``try``).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoring.arrow.hashing import hash_columns
from scoring.contract import quarantine
from scoring.contract.duplicates import repeated_rows
from scoring.contract.rules import Rule
from scoring.engine import Predictions, score_table
from scoring.job.columns import ROW
from scoring.models.base import Model
from scoring.pipeline.checked_rows import RowChecker
from scoring.pipeline.columns import PublishedColumns
from scoring.pipeline.context import PartitionContext
from scoring.sources.base import Source, open_source
from scoring.storage.base import ObjectInfo, ReadableStorage
from scoring.storage.connections import Connections


@dataclass(frozen=True)
class FirstRows:
    """What became of the first rows of a source.

    ``given`` has the columns that were read and those derived from them, all rows, as they came.
    ``rows`` are the numbers in the source, from 1, of the rows that were given to the model, and
    ``predictions`` is what the engine made of them; ``published`` has its table in the types in
    which it would be published.  ``quarantined`` are quarantine tables, ``left_out`` one (None:
    none) of rows that are left out before the model sees them.  ``repeated_ids`` are the hashes of
    ids that an earlier row has.
    """

    given: pa.Table
    rows: npt.NDArray[np.int64]
    predictions: Predictions
    published: pa.Table
    quarantined: list[pa.Table]
    left_out: pa.Table | None
    repeated_ids: npt.NDArray[np.uint64]


def open_beginning(context: PartitionContext) -> Source:
    """Return the source of the partition, whose files are not read for their digests."""
    connections = _WithoutDigests(context.connections)
    return open_source(context.job, context.partition, context.roots, connections)


def read_beginning(source: Source, rows: int) -> pa.Table:
    """Return the first ``rows`` rows of ``source``, or all if there are fewer."""
    batches = source.batches(repeat(rows))
    batch = next(batches)
    getattr(batches, "close", lambda: None)()  # a generator lets go of its file, or its query
    return batch


def score_beginning(
    context: PartitionContext, source: Source, batch: pa.Table, model: Model
) -> FirstRows:
    """Return what a run makes of ``batch``, the first rows of ``source``.

    Raises what a run raises for its rows: SourceError, ContractError, ScorerError, and
    PublicationError where an output does not fit what is published so far.
    """
    job, key = context.job, context.partition.key
    with closing(RowChecker(context.job_file, context.partition, context.so_far)) as checker:
        found = checker.check(source, batch, 0)
        given, _ = checker.expressions.evaluate(batch, source.text_only, source.uri)
    quarantined = [found.quarantined] if found.quarantined is not None else []
    typed, rows = found.good, found.good.column(ROW).to_numpy()
    repeated_ids = np.array([], dtype=np.uint64)
    if typed.num_rows:
        hash_columns(typed, job.id_columns)  # which knows fewer types than a source may have
        numbered = typed.select([*job.id_columns, ROW])
        again = np.isin(rows, repeated_rows(rows, [numbered], job.id_columns, ROW))
        if again.any():
            ids = typed.select(job.leading_columns).filter(pa.array(again))
            repeated_ids = hash_columns(ids, job.id_columns)
            quarantined.append(quarantine.by_rule(ids, rows[again], Rule("duplicate_row_id"), key))
            typed, rows = typed.filter(pa.array(~again)), rows[~again]
    predictions = score_table(typed, model, job)
    if predictions.rejected.num_rows:
        ids = typed.select(job.leading_columns)
        quarantined.append(quarantine.of_rejected(ids, rows, predictions.rejected, key))
    published = predictions.table
    if published.num_rows:
        in_force = context.so_far.columns(but=context.partition)
        published = PublishedColumns(context.name, in_force).cast(published)
    return FirstRows(given, rows, predictions, published, quarantined, found.left_out, repeated_ids)


class _WithoutDigests(Connections):
    """Connections that do not read whole files for a digest that nothing will be compared with."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections.s3_client, connections.database)

    def readable_storage(self, uri: str) -> ReadableStorage:
        return _Unidentified(super().readable_storage(uri))


class _Unidentified:
    """``storage``, but for what ``identify`` would read."""

    def __init__(self, storage: ReadableStorage) -> None:
        self._storage = storage
        self.find, self.sha256, self.open = storage.find, storage.sha256, storage.open

    def identify(self, found: ObjectInfo) -> ObjectInfo:
        return found
