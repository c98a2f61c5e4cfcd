"""The contract: which rows of a partition may be scored, and why the others may not.

Checked with Arrow's kernels, column by column over a batch at a time (pandera was weighed in
docs/decisions/0005-contract.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.cast import NotCastableError, cast
from scoring.arrow.columns import Mask, combined_column, matches, null_mask
from scoring.arrow.text import dictionary_encoded
from scoring.errors import ContractError
from scoring.job.inputs import ColumnConfig
from scoring.job.partitions import Partition
from scoring.job.schema import Job

Verdicts = npt.NDArray[np.int32]
"""For each row 0, or 1 + the position in ``Contract.rules`` of the first rule that it breaks."""


@dataclass(frozen=True)
class Rule:
    """A reason code and the column it is about (None: about the row)."""

    reason: str
    column: str | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.column}" if self.column else self.reason


class Contract:
    """The rules of one job for one partition.

    Reason codes: ``null_row_id``, ``outside_partition``, ``wrong_type``, ``missing_value``,
    ``infinite``, ``below_min``, ``above_max``, ``not_allowed`` from ``check``;
    ``duplicate_row_id``, ``null_prediction`` and ``infinite_prediction`` are found later.
    """

    def __init__(self, job: Job, partition: Partition, text_only: bool) -> None:
        self.job = job
        self.partition = partition
        self.text_only = text_only
        self.rules: list[Rule] = []

    def check(self, table: pa.Table, origin: str) -> tuple[pa.Table, Verdicts]:
        """``table`` (the job's columns) in the contract's types, and its verdicts.

        Text comes back dictionary-encoded.  Rows and columns keep their order.  ``origin`` names the
        source in a ContractError, which is raised where a column's stored type is another kind of
        thing than the contract says.
        """
        verdicts: Verdicts = np.zeros(table.num_rows, dtype=np.int32)
        typed: dict[str, pa.Array] = {}
        for name in table.column_names:
            stored = combined_column(table, name)
            column = self._column(name)
            for rule, broken in self._column_rules(name, stored, column, typed, origin):
                verdicts[broken & (verdicts == 0)] = self._number(rule)
        return pa.table(typed), verdicts

    def _column(self, name: str) -> ColumnConfig | None:
        if name in self.job.inputs:
            return self.job.inputs[name]
        if name == self.job.source.date_column and self.text_only:
            return ColumnConfig(type="timestamp", nullable=True)
        return None

    def _column_rules(
        self,
        name: str,
        stored: pa.Array,
        column: ColumnConfig | None,
        typed: dict[str, pa.Array],
        origin: str,
    ) -> Iterator[tuple[Rule, Mask]]:
        """Puts the typed column into ``typed`` and yields each rule with the rows that break it."""
        values = stored
        if column is not None:
            try:
                values, unfit = cast(stored, column, self.text_only)
            except NotCastableError:
                raise ContractError(
                    f"{origin}: the column {name!r} is stored as {stored.type}, which is not "
                    f"{column.type}, as inputs.{name}.type in the job file says; nothing was published"
                ) from None
            yield Rule("wrong_type", name), unfit
        values = dictionary_encoded(values)
        typed[name] = values
        nulls = null_mask(values)
        if name in self.job.row_id:
            yield Rule("null_row_id", name), nulls
        if name == self.job.source.date_column:
            yield Rule("outside_partition", name), self._outside(name, values, origin)
        if name in self.job.inputs and column is not None:
            if not column.nullable:
                yield Rule("missing_value", name), nulls
            yield from _value_rules(name, values, column, nulls)

    def _outside(self, name: str, values: pa.Array, origin: str) -> Mask:
        """Where a moment is null or not in the partition; one without a zone is in the job's."""
        if pa.types.is_null(values.type):  # nothing but nulls, so nobody knows what they are
            return np.ones(len(values), dtype=bool)
        if pa.types.is_date(values.type):
            values = values.cast(pa.timestamp("us"))
        if not pa.types.is_timestamp(values.type):
            raise ContractError(
                f"{origin}: the date column {name!r} is stored as {values.type}, not as a date or "
                "timestamp; nothing was published"
            )
        if values.type.tz is None:
            start, end = self.partition.on_the_clock
        else:
            start, end = (m.astimezone(UTC) for m in (self.partition.start, self.partition.end))
        inside = pc.and_(
            pc.greater_equal(values, pa.scalar(start, values.type)),
            pc.less(values, pa.scalar(end, values.type)),
        )
        return ~np.asarray(inside.fill_null(False))

    def _number(self, rule: Rule) -> int:
        if rule not in self.rules:
            self.rules.append(rule)
        return self.rules.index(rule) + 1


def _value_rules(
    name: str, values: pa.Array, column: ColumnConfig, nulls: Mask
) -> Iterator[tuple[Rule, Mask]]:
    if column.is_number:
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
        if pa.types.is_floating(values.type):
            yield Rule("infinite", name), np.isinf(numbers)
        if column.min is not None:
            yield Rule("below_min", name), ~nulls & (numbers < column.min)
        if column.max is not None:
            yield Rule("above_max", name), ~nulls & (numbers > column.max)
    if column.allowed is not None:
        yield Rule("not_allowed", name), ~nulls & ~matches(values, column.allowed)
