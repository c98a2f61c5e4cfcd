"""Some rows of a partition as the model gets them: for a look in a notebook, or to score them again.

The same rows each time: a row is chosen by a hash of its number in the source, so that they are
spread over the partition, and a smaller sample is part of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from scoring.arrow.columns import combined_column
from scoring.arrow.text import decoded
from scoring.errors import PublicationError
from scoring.job.columns import ROW
from scoring.job.destinations import canonical, overlap
from scoring.pipeline.checked_rows import RowChecker
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.extract import BATCH_ROWS
from scoring.pipeline.first_rows import open_beginning
from scoring.sources.base import Source
from scoring.sources.rechunk import in_schema
from scoring.storage.base import Storage, pending
from scoring.storage.local import LocalStorage

OnRows = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Sample:
    """``table`` has the sampled rows in the order of the source: row ids, inputs, kept columns and
    the date column in the contract's types, and what expressions read as the source has it.

    Of ``rows_in`` rows of the source, ``rows_to_score`` would be given to the model; the sample is
    of these.
    """

    table: pa.Table
    rows_in: int
    rows_to_score: int


def sample(
    context: PartitionContext,
    count: int,
    pinned_version: str | None = None,
    on_rows: OnRows = lambda rows, total: None,
) -> Sample:
    """Return ``count`` rows of the partition, or all that would be scored if there are fewer.

    Reads the whole source. Rows that break the contract or are left out are not among them; of rows
    with the same id, several may be.  ``on_rows`` is called as by ``extract``.  Raises SourceError,
    ContractError for a column of another kind, and ModelError where the contract is the model's
    signature.
    """
    if context.job.has_inputs_of_model:
        context = context.with_inputs_of(context.model_file(pinned_version))
    source = open_beginning(context)
    chosen, rows_in, rows_to_score = _Chosen(count, source.uri), 0, 0
    with closing(RowChecker(context.job_file, context.partition, context.so_far)) as checker:
        for batch in source.batches(repeat(BATCH_ROWS)):
            good = checker.check(source, batch, rows_in).good
            as_read = _as_read(context, checker, source)
            at = pa.array(good.column(ROW).to_numpy() - 1 - rows_in)
            columns = {name: combined_column(good, name) for name in good.column_names}
            columns |= {name: combined_column(batch, name).take(at) for name in as_read}
            chosen.add(pa.table({name: decoded(values) for name, values in columns.items()}))
            rows_in += batch.num_rows
            rows_to_score += good.num_rows
            on_rows(batch.num_rows, source.rows)
    return Sample(chosen.table(), rows_in, rows_to_score)


def write_sample(table: pa.Table, path: Path, *, replace: bool = False) -> None:
    """Write ``table`` to ``path``, a parquet file or, by its name, a CSV file; whole or not at all.

    Raises PublicationError where a file is there already, unless ``replace``, and where it cannot
    be written.
    """
    check_new(path, replace=replace)
    storage: Storage = LocalStorage()
    try:
        with pending(storage, str(path)) as new:
            if path.suffix == ".csv":
                pa.csv.write_csv(table, new)
            else:
                pq.write_table(table, new, compression="zstd")
            new.commit()
    except pa.ArrowException as error:
        raise PublicationError(f"{path} cannot be written: {error}") from error


def check_place(context: PartitionContext, path: Path, *, replace: bool) -> None:
    """Raise PublicationError where a file is at ``path``, unless it is to be replaced, and where that is
    a file of the source, or within the destination of the job.
    """
    check_new(path, replace=replace)
    place = canonical(str(path.absolute()))
    template = context.job.source.uri
    if template is not None:
        uri = context.roots.expand(template, context.partition)
        source = context.connections.storage(uri).find(uri) if "://" not in uri else []
        if place in {canonical(file.uri) for file in source}:
            raise PublicationError(f"{path} is the source of {context.name}; name another file")
    if overlap(place, canonical(context.publisher.uri)):
        raise PublicationError(
            f"{path} is within the destination of {context.job.name}, {context.publisher.uri}; name "
            "another file"
        )


def check_new(path: Path, *, replace: bool) -> None:
    """Raise PublicationError where a file is at ``path``, unless it is to be replaced."""
    if path.exists() and not replace:
        raise PublicationError(
            f"{path} is there already, and was left as it is; --force replaces it"
        )


def _as_read(context: PartitionContext, checker: RowChecker, source: Source) -> list[str]:
    """Return the columns whose values are taken as the source has them: expressions give the same
    for the sample only if these have the same types.
    """
    job = context.job
    return [
        name
        for name in checker.expressions.reads
        if name in job.source.derive or not (source.text_only and name in job.columns)
    ]


class _Chosen:
    """The rows with the ``count`` smallest marks so far."""

    def __init__(self, count: int, uri: str) -> None:
        self._count, self._uri = count, uri
        self._rows: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        """Take in more rows."""
        if self._rows is None:
            self._rows = rows
        else:
            self._rows = pa.concat_tables(
                [self._rows, in_schema(rows, self._rows.schema, self._uri)]
            )
        if self._rows.num_rows > self._count:
            marks = _marks(self._rows.column(ROW).to_numpy())
            kept = np.sort(np.argpartition(marks, self._count - 1)[: self._count])
            self._rows = self._rows.take(pa.array(kept))

    def table(self) -> pa.Table:
        """Return the rows, in the order of the source."""
        assert self._rows is not None  # a source gives at least one batch, if an empty one
        return self._rows.drop_columns(ROW).combine_chunks()


def _marks(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return a hash of each row number: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    z = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
