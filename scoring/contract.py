"""The contract: which rows of a partition may be scored, and why the others may not.

Checked with Arrow's kernels, column by column over a batch at a time (pandera was weighed in
docs/decisions/0005-contract.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoring import columns
from scoring.errors import ContractError, quoted
from scoring.job import Column, Job
from scoring.partition import Partition

EXAMPLE_CHARACTERS = 80
"""How much of a value a message quotes."""

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
            stored = columns.single(table, name)
            column = self._column(name)
            for rule, broken in self._column_rules(name, stored, column, typed, origin):
                verdicts[broken & (verdicts == 0)] = self._number(rule)
        return pa.table(typed), verdicts

    def _column(self, name: str) -> Column | None:
        if name in self.job.inputs:
            return self.job.inputs[name]
        if name == self.job.source.date_column and self.text_only:
            return Column(type="timestamp", nullable=True)
        return None

    def _column_rules(
        self,
        name: str,
        stored: pa.Array,
        column: Column | None,
        typed: dict[str, pa.Array],
        origin: str,
    ) -> Iterator[tuple[Rule, columns.Mask]]:
        """Puts the typed column into ``typed`` and yields each rule with the rows that break it."""
        values = stored
        if column is not None:
            try:
                values, unfit = columns.cast(stored, column, self.text_only)
            except columns.NotCastable:
                raise ContractError(
                    f"{origin}: the column {name!r} is stored as {stored.type}, which is not "
                    f"{column.type}, as inputs.{name}.type in the job file says; nothing was published"
                ) from None
            yield Rule("wrong_type", name), unfit
        values = columns.encoded(values)
        typed[name] = values
        nulls = columns.null_mask(values)
        if name in self.job.row_id:
            yield Rule("null_row_id", name), nulls
        if name == self.job.source.date_column:
            yield Rule("outside_partition", name), self._outside(name, values, origin)
        if name in self.job.inputs and column is not None:
            if not column.nullable:
                yield Rule("missing_value", name), nulls
            yield from _value_rules(name, values, column, nulls)

    def _outside(self, name: str, values: pa.Array, origin: str) -> columns.Mask:
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
    name: str, values: pa.Array, column: Column, nulls: columns.Mask
) -> Iterator[tuple[Rule, columns.Mask]]:
    if column.is_number:
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
        if pa.types.is_floating(values.type):
            yield Rule("infinite", name), np.isinf(numbers)
        if column.min is not None:
            yield Rule("below_min", name), ~nulls & (numbers < column.min)
        if column.max is not None:
            yield Rule("above_max", name), ~nulls & (numbers > column.max)
    if column.allowed is not None:
        yield Rule("not_allowed", name), ~nulls & ~columns.matches(values, column.allowed)


@dataclass
class Accounts:
    """How many rows came in, and how many were quarantined by which rule, with examples.

    ``quarantined`` and ``examples`` are keyed by the rule as text (``missing_value: dep_delay``).
    At most ``examples_per_rule`` rows are quoted for each rule.
    """

    rows_in: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    examples_per_rule: int = 3

    @property
    def rows_quarantined(self) -> int:
        return sum(self.quarantined.values())

    def add(self, rows: pa.Table) -> None:
        """Counts quarantined rows: a table with ``reason``, ``column``, ``value`` and row ids."""
        counted = rows.group_by(["reason", "column"], use_threads=False).aggregate(
            [([], "count_all")]
        )
        for group in counted.to_pylist():
            reason, column, count = group["reason"], group["column"], group["count_all"]
            rule = str(Rule(reason, column))
            self.quarantined[rule] = self.quarantined.get(rule, 0) + count
            examples = self.examples.setdefault(rule, [])
            if len(examples) < self.examples_per_rule:
                of_rule = (pc.field("reason") == reason) & (
                    pc.field("column").is_null() if column is None else pc.field("column") == column
                )
                shown = rows.filter(of_rule).slice(0, self.examples_per_rule - len(examples))
                examples += [_shown(row, column) for row in shown.to_pylist()]

    def check(self, job: Job, partition: Partition, at_least: bool = False) -> None:
        """ContractError if more rows are quarantined, or fewer come in, than the job tolerates.

        ``at_least``: all rows have come in, and further ones may be quarantined.
        """
        checks, name = job.checks, f"{job.name} {partition.key}"
        if self.rows_in < checks.min_rows:
            raise ContractError(
                f"{name}: {self.rows_in:,} rows came in, fewer than checks.min_rows, "
                f"{checks.min_rows:,}; nothing was published"
            )
        fraction = self.rows_quarantined / self.rows_in if self.rows_in else 0.0
        if fraction > checks.max_quarantined_fraction:
            raise ContractError(
                f"{name}: {'at least ' if at_least else ''}{self.rows_quarantined:,} of "
                f"{self.rows_in:,} rows ({fraction:.2%}) break "
                f"the contract, more than checks.max_quarantined_fraction, "
                f"{checks.max_quarantined_fraction:.2%}; nothing was published. Mend the source, let "
                f"inputs be nullable, or raise checks.max_quarantined_fraction\n{self.told()}"
            )

    def told(self) -> str:
        """One line a rule: how many rows break it, and some of them."""
        worst_first = sorted(self.quarantined.items(), key=lambda item: -item[1])
        lines = []
        for rule, count in worst_first:
            told = "; ".join(self.examples.get(rule, []))
            examples = f", for example {told}" if told else ""
            lines.append(
                f"  {quoted(rule, EXAMPLE_CHARACTERS)}: {count:,} row{'s' if count > 1 else ''}{examples}"
            )
        return "\n".join(lines)


def _shown(row: dict[str, object], column: str | None) -> str:
    ids = ", ".join(
        _pair(name, value)
        for name, value in row.items()
        if name not in ("row", "reason", "column", "value", "partition")
    )
    value = f", {_pair(column, row['value'])}" if column else ""
    return f"row {row['row']} ({ids}{value})"


def _pair(name: str, value: object) -> str:
    return f"{quoted(name, EXAMPLE_CHARACTERS)}={quoted(str(value), EXAMPLE_CHARACTERS)}"
