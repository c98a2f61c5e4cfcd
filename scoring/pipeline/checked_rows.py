"""A batch of a source on its way to the model: derived columns, rows left out, the contract.

The same for a run, for its rehearsal and for the rows of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from scoring.arrow.columns import Mask, combined_column
from scoring.contract import quarantine
from scoring.contract.kept import check_kept_types
from scoring.contract.rules import Contract
from scoring.destinations.base import Publisher
from scoring.expressions.evaluate import ExpressionsError, open_expressions, other_type
from scoring.job.columns import FILE, IN_FILE, ROW, ROW_NUMBER
from scoring.job.loader import JobFile
from scoring.job.partitions import Partition
from scoring.sources.rechunk import in_schema

SCORED, QUARANTINED, LEFT_OUT = "scored", "quarantined", "left_out"
"""What becomes of a row."""

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


class RowsFrom(Protocol):
    """What rows came from: a source, or a request."""

    @property
    def uri(self) -> str: ...
    @property
    def text_only(self) -> bool: ...


class RowChecker:
    """Checks the rows of one partition (None: of any), batch by batch; ``close`` ends it.

    Raises JobError where an expression of the job is wrong, SourceError where one fails for a row,
    and ContractError where a column is another kind of thing than the contract says.  ``publisher``
    is of what is published from the same source, so that its columns keep their types.
    """

    def __init__(
        self, job_file: JobFile, partition: Partition | None, publisher: Publisher | None
    ) -> None:
        self._job_file = job_file
        self._partition = partition
        self._publisher = publisher
        self.expressions = open_expressions(job_file)
        self._contract: Contract | None = None
        self._schema: pa.Schema | None = None
        self._moments: dict[str, str] = {}

    def close(self) -> None:
        """End the evaluation of expressions."""
        self.expressions.close()

    def check_alone(
        self,
        source: RowsFrom,
        batch: pa.Table,
        unread: Mapping[str, Mask],
        types: Mapping[str, str],
    ) -> CheckedRows:
        """Return what becomes of ``batch``, whatever was checked before.

        ``unread`` is as in ``Contract.check``; ``types`` are those of the columns that expressions
        read, where they are known.
        """
        self._contract = self._schema = None
        self.expressions.types = dict(types)
        return self.check(source, batch, 0, unread)

    def check(
        self,
        source: RowsFrom,
        batch: pa.Table,
        rows_before: int,
        unread: Mapping[str, Mask] | None = None,
    ) -> CheckedRows:
        """Return what becomes of ``batch``, which ``rows_before`` rows of ``source`` precede."""
        job, key = self._job_file.job, self._partition.key if self._partition else ""
        rows = np.arange(batch.num_rows) + rows_before + 1
        try:
            table, reasons = self.expressions.evaluate(batch, source.text_only, source.uri)
        except ExpressionsError as error:
            raise self._job_file.errors(error.problems) from None
        if self._contract is None and self._publisher is not None:
            self._check_types_of_other_partitions(source.uri)
        given = {name: combined_column(table, name) for name in table.column_names}
        if ROW_NUMBER in job.added_columns:
            given[ROW_NUMBER] = pa.array(rows)
        if FILE in job.added_columns:
            given[FILE] = given[IN_FILE]
        stored = pa.table({name: given[name] for name in job.columns})
        if self._contract is None:
            self._contract = Contract(job, self._partition, source.text_only)
            if not source.text_only:
                self._moments = _stored_moments(stored)
        contract = self._contract
        typed, verdicts = contract.check(stored, source.uri, unread)
        typed = self._in_one_schema(typed, source.uri)
        outside = contract.left_out(typed, verdicts) & (reasons == 0)
        names = [*self.expressions.reasons, OUTSIDE_PARTITION]
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
        """The stored types of the columns that expressions read, and of moments, for the manifest."""
        return self._moments | self.expressions.types

    def _check_types_of_other_partitions(self, origin: str) -> None:
        """Raise SourceError where a column whose type matters to expressions was stored in another
        type for a partition that is published: the same value would become another one.
        """
        assert self._publisher is not None
        if not self.expressions.by_type & {*self.expressions.types}:
            return
        key = self._partition.key if self._partition else None
        published = self._publisher.all_published()
        other = next((m for m in published if m.partition != key and m.source_types), None)
        for name in sorted(self.expressions.by_type & {*self.expressions.types}):
            kind = self.expressions.types[name]
            before = other.source_types.get(name) if other else None
            if before is not None and before != kind:
                assert other is not None
                raise other_type(origin, name, kind, f"{before} in {other.partition}")

    def _in_one_schema(self, typed: pa.Table, origin: str) -> pa.Table:
        """Return ``typed`` in the column types of the first batch."""
        if self._schema is None:
            check_kept_types(typed.schema, self._job_file.job, origin)
            self._schema = typed.schema
        return in_schema(typed, self._schema, origin)


def _stored_moments(stored: pa.Table) -> dict[str, str]:
    """Return the types of the columns of moments: whether they have a zone is not in the contract."""
    return {f.name: str(f.type) for f in stored.schema if pa.types.is_timestamp(f.type)}
