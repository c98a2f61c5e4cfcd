"""The actuals of a partition: a key and the true value for each row of their source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import repeat

import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import combined_column
from scoring.arrow.contract import column_of_type
from scoring.arrow.hashing import hash_columns
from scoring.arrow.unify import TypeConflictError, exact_cast
from scoring.contract.tally import Tally
from scoring.errors import SourceColumnsError
from scoring.job.actuals import ActualsConfig
from scoring.job.inputs import ColumnConfig, ColumnType
from scoring.job.loader import JobFile
from scoring.job.output import OutputConfig
from scoring.pipeline.checked_rows import RowChecker
from scoring.pipeline.context import PartitionContext
from scoring.sources.base import Source, SourceRecord, open_source

_BATCH_ROWS = 131_072


class Actuals:
    """Reads the actuals of the partition of ``context``; SourceMissingError where they are not there.

    ``published`` are the columns and types of the predictions: the row ids of the actuals are taken
    in the same types, so that the same row has the same key. Rows that break the contract (a null
    row id, a value of another type) are counted in ``tally``.
    """

    def __init__(
        self,
        context: PartitionContext,
        actuals: ActualsConfig,
        published: pa.Schema,
        truth_type: ColumnType,
    ) -> None:
        self.tally = Tally(examples_per_rule=0)
        self._column = actuals.column
        self._names = actuals.row_id or context.job.id_columns
        self._types = [published.field(name).type for name in context.job.id_columns]
        truth = {actuals.column: ColumnConfig(type=truth_type, nullable=True)}
        self._context = replace(context, job_file=file_of_actuals(context.job_file, truth))
        self._source = self._open()
        if self._source.text_only:  # the text of a row id says what it is only with its type
            ids = zip(self._names, self._types, strict=True)
            found = {name: column_of_type(kind) for name, kind in ids}
            truth |= {name: column for name, column in found.items() if column is not None}
            self._context = replace(context, job_file=file_of_actuals(context.job_file, truth))
            self._source = self._open()

    def _open(self) -> Source:
        context = self._context
        return open_source(context.job, context.partition, context.roots, context.connections)

    def batches(self) -> Iterator[pa.Table]:
        """Yield tables of ``key``, the hash of a row's id, and ``actual``, which may be null."""
        with closing(RowChecker(self._context.job_file, self._context.partition, None)) as checker:
            for batch in self._source.batches(repeat(_BATCH_ROWS)):
                found = checker.check(self._source, batch, self.tally.rows_in)
                self.tally.rows_in += batch.num_rows
                if found.quarantined is not None:
                    self.tally.add(found.quarantined)
                actual = _without_nan(combined_column(found.good, self._column))
                yield pa.table({"key": self._keys(found.good), "actual": actual})

    def record(self) -> SourceRecord:
        """Return what was read; ``batches`` is at its end."""
        return self._source.record(self.tally.rows_in)

    def _keys(self, rows: pa.Table) -> pa.Array:
        ids = {}
        for name, kind in zip(self._names, self._types, strict=True):
            try:
                ids[name] = exact_cast(combined_column(rows, name), kind)
            except TypeConflictError as error:
                raise SourceColumnsError(
                    f"{self._source.uri}: the column {name!r} does not identify rows as in the "
                    f"predictions: {error}. Name another column in actuals.row_id, or convert it in "
                    "actuals.source.derive"
                ) from None
        return pa.array(hash_columns(pa.table(ids), self._names))


def file_of_actuals(job_file: JobFile, inputs: dict[str, ColumnConfig]) -> JobFile:
    """Return the job whose source are the actuals, and whose contract is ``inputs``."""
    actuals = job_file.job.actuals
    assert actuals is not None
    changes = {
        "source": actuals.source,
        "row_id": actuals.row_id or job_file.job.row_id,
        "inputs": inputs,
        "leave_out": {},
        "output": OutputConfig(),
    }
    job = job_file.job.model_copy(update=changes)
    return replace(job_file, job=job, within=("actuals",))


def _without_nan(values: pa.Array) -> pa.Array:
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
