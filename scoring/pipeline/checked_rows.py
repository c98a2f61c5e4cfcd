"""A batch of a source on its way to the model: derived columns, rows left out, the contract.

The same for a run and for its rehearsal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.contract import quarantine
from scoring.contract.kept import check_kept_types
from scoring.contract.rules import Contract
from scoring.expressions.evaluate import ExpressionsError, open_expressions, other_type
from scoring.job.columns import FILE, IN_FILE, ROW, ROW_NUMBER
from scoring.pipeline.context import PartitionContext
from scoring.sources.base import Source
from scoring.sources.rechunk import in_schema

OUTSIDE_PARTITION = "outside_partition"
"""Why rows are left out for which ``source.outside_partition`` is ``leave_out``."""


@dataclass(frozen=True)
class CheckedRows:
    """What became of the rows of a batch, in its order.

    ``good`` has the job's columns in the contract's types, and ``ROW``.  ``quarantined`` and
    ``left_out`` are quarantine tables (see ``scoring.contract.quarantine``); None without rows.
    """

    good: pa.Table
    quarantined: pa.Table | None
    left_out: pa.Table | None


class RowChecker:
    """Checks the rows of one partition, batch by batch; ``close`` ends it.

    Raises JobError where an expression of the job is wrong, SourceError where one fails for a row,
    and ContractError where a column is another kind of thing than the contract says.  ``published``
    says whether what is published comes from the same source, so that its columns keep their types.
    """

    def __init__(self, context: PartitionContext, published: bool = True) -> None:
        self._context = context
        self._published = published
        self._expressions = open_expressions(context.job_file)
        self._contract: Contract | None = None
        self._schema: pa.Schema | None = None

    def close(self) -> None:
        """End the evaluation of expressions."""
        self._expressions.close()

    def check(self, source: Source, batch: pa.Table, rows_before: int) -> CheckedRows:
        """Return what becomes of ``batch``, which ``rows_before`` rows of ``source`` precede."""
        job, key = self._context.job, self._context.partition.key
        rows = np.arange(batch.num_rows) + rows_before + 1
        try:
            table, reasons = self._expressions.evaluate(batch, source.text_only, source.uri)
        except ExpressionsError as error:
            raise self._context.job_file.errors(error.problems) from None
        if self._contract is None and self._published:
            self._check_types_of_other_partitions(source.uri)
        given = {name: combined_column(table, name) for name in table.column_names}
        if ROW_NUMBER in job.added_columns:
            given[ROW_NUMBER] = pa.array(rows)
        if FILE in job.added_columns:
            given[FILE] = given[IN_FILE]
        stored = pa.table({name: given[name] for name in job.columns})
        if self._contract is None:
            self._contract = Contract(job, self._context.partition, source.text_only)
        contract = self._contract
        typed, verdicts = contract.check(stored, source.uri)
        typed = self._in_one_schema(typed, source.uri)
        outside = contract.left_out(typed, verdicts) & (reasons == 0)
        names = [*self._expressions.reasons, OUTSIDE_PARTITION]
        reasons = np.where(outside, len(names), reasons)
        left, broken = reasons > 0, (verdicts > 0) & (reasons == 0)
        quarantined = left_out = None
        ids = typed.select(job.leading_columns)
        if broken.any():
            of = np.where(broken, verdicts, 0)
            quarantined = quarantine.by_verdict(ids, stored, rows, of, contract.rules, key)
        if left.any():
            why = [names[number - 1] for number in reasons[left]]
            left_out = quarantine.of_left_out(ids.filter(pa.array(left)), rows[left], why, key)
        if broken.any() or left.any():
            good = ~(broken | left)
            typed, rows = typed.filter(pa.array(good)), rows[good]
        return CheckedRows(typed.append_column(ROW, pa.array(rows)), quarantined, left_out)

    @property
    def source_types(self) -> dict[str, str]:
        """The stored types of the columns on whose types expressions depend, for the manifest."""
        return self._expressions.types

    def _check_types_of_other_partitions(self, origin: str) -> None:
        """Raise SourceError where a column that expressions read was stored in another type for a
        partition that is published: the same value would become another one.
        """
        if not self._expressions.types:
            return
        key, published = self._context.partition.key, self._context.publisher.all_published()
        other = next((m for m in published if m.partition != key and m.source_types), None)
        for name, kind in self._expressions.types.items():
            before = other.source_types.get(name) if other else None
            if before is not None and before != kind:
                assert other is not None
                raise other_type(origin, name, kind, f"{before} in {other.partition}")

    def _in_one_schema(self, typed: pa.Table, origin: str) -> pa.Table:
        """Return ``typed`` in the column types of the first batch."""
        if self._schema is None:
            check_kept_types(typed.schema, self._context.job, origin)
            self._schema = typed.schema
        return in_schema(typed, self._schema, origin)
