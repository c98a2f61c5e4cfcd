"""The contract: which rows of a partition may be scored, and why the others may not.

Checked with Arrow's kernels, column by column over a batch at a time (pandera was weighed in
docs/decisions/0005-contract.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.cast import ColumnCast, MixedZonesError, NotCastableError, instants_of_text
from scoring.arrow.columns import Mask, combined_column, null_mask
from scoring.arrow.moments import in_unit, read_moments
from scoring.arrow.names import type_name
from scoring.arrow.narrow import without_negative_zero
from scoring.arrow.text import dictionary_encoded
from scoring.arrow.text import is_text as arrow_is_text
from scoring.contract.allowed import allowed_mask
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

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Return the rule that ``str`` made ``text`` of."""
        reason, _, column = text.partition(": ")
        return cls(reason, column or None)


class Contract:
    """The rules of one job for one partition; None for rows that may be of any.

    Reason codes: ``null_row_id``, ``outside_partition``, ``wrong_type``, ``missing_value``,
    ``infinite``, ``below_min``, ``above_max``, ``not_allowed`` from ``check``;
    ``duplicate_row_id``, ``null_prediction`` and ``infinite_prediction`` are found later.
    """

    def __init__(self, job: Job, partition: Partition | None, text_only: bool) -> None:
        self.job = job
        self.partition = partition
        self.text_only = text_only
        self.rules: list[Rule] = []
        self._kinds: dict[str, pa.DataType] = {}

    def check(
        self, table: pa.Table, origin: str, unread: Mapping[str, Mask] | None = None
    ) -> tuple[pa.Table, Verdicts]:
        """Return ``table`` (the job's columns) in the contract's types, and its verdicts.

        Text comes back dictionary-encoded. Rows and columns keep their order. ``origin`` names the
        source in a ContractError, which is raised where a column's stored type is another kind of
        thing than the contract says.  ``unread`` marks, by column, values that are null in
        ``table`` because they are of another type.
        """
        unread = unread or {}
        verdicts: Verdicts = np.zeros(table.num_rows, dtype=np.int32)
        typed: dict[str, pa.Array] = {}
        # The date column first: a row of another partition is nothing but that.
        dates = self.job.source.date_column
        for name in sorted(table.column_names, key=lambda name: name != dates):
            stored = combined_column(table, name)
            rules = self._column_rules(name, stored, typed, origin)
            if name in unread:
                rules = chain([(Rule("wrong_type", name), unread[name])], rules)
            for rule, broken in rules:
                verdicts[broken & (verdicts == 0)] = self._number(rule)
        return pa.table({name: typed[name] for name in table.column_names}), verdicts

    def left_out(self, typed: pa.Table, verdicts: Verdicts) -> Mask:
        """Return a mask of the rows that are outside of the partition, if the job leaves them out."""
        source, rule = self.job.source, Rule("outside_partition", self.job.source.date_column)
        if source.outside_partition == "quarantine" or rule not in self.rules:
            return np.zeros(len(verdicts), dtype=bool)
        outside: Mask = verdicts == self._number(rule)
        return outside & ~null_mask(combined_column(typed, rule.column or ""))

    def _column_rules(
        self, name: str, stored: pa.Array, typed: dict[str, pa.Array], origin: str
    ) -> Iterator[tuple[Rule, Mask]]:
        """Put the typed column into ``typed`` and yield each rule with the rows that break it."""
        column = self.job.inputs.get(name)
        is_date = name == self.job.source.date_column
        is_text = self._is_text(name) and arrow_is_text(stored.type)
        if column is not None:
            values, unfit = self._typed(name, stored, column, origin)
            yield Rule("wrong_type", name), unfit
        elif is_date and is_text:
            values, outside = self._texts_outside(stored)
            yield Rule("wrong_type", name), null_mask(values) & ~null_mask(stored)
            yield Rule("outside_partition", name), outside
        else:
            values = without_negative_zero(stored)
        values = typed[name] = dictionary_encoded(values)
        nulls = null_mask(values)
        if name in self.job.id_columns:
            yield Rule("null_row_id", name), nulls
        if is_date and (column is not None or not is_text):
            yield Rule("outside_partition", name), self._outside(name, values, origin)
        if column is not None:
            if not column.nullable:
                yield Rule("missing_value", name), nulls
            yield from _value_rules(name, values, column, nulls, self.job.zone)

    def _typed(
        self, name: str, stored: pa.Array, column: ColumnConfig, origin: str
    ) -> tuple[pa.Array, Mask]:
        """Return ``stored`` in the contract's type, and which of it does not fit."""
        is_text = self._is_text(name)
        cast = ColumnCast(column, self.job.zone, is_text, exact=name in self.job.id_columns)
        try:
            values, unfit = cast(stored)
        except NotCastableError:
            raise ContractError(
                f"{origin}: the column {name!r} is stored as {type_name(stored.type)}, which is "
                f"not {column.type}, as inputs.{name}.type in the job file says. Correct the type "
                "in the job file, or the column in the source"
            ) from None
        except MixedZonesError:
            raise self._mixed_zones(name, origin) from None
        if is_text and column.type == "timestamp" and values.null_count < len(values):
            first = self._kinds.setdefault(name, values.type)
            if values.type != first:
                raise self._mixed_zones(name, origin)
        return values, unfit

    def _mixed_zones(self, name: str, origin: str) -> ContractError:
        return ContractError(
            f"{origin}: some moments of the column {name!r} have an offset from UTC and others "
            "have none, so it is not known which of the two the model was trained with. "
            f"inputs.{name}.timezone in the job file, such as UTC, settles it: moments without an "
            f"offset are then taken to be in {self.job.timezone}"
        )

    def _texts_outside(self, stored: pa.Array) -> tuple[pa.Array, Mask]:
        """Return the texts of the date column as instants, and which of them are not in the
        partition.

        A clock time that comes twice is the one of the two that is in the partition.
        """
        texts = read_moments(stored)
        earlier, _ = instants_of_text(texts, "us", self.job.zone)
        if self.partition is None:
            return earlier, null_mask(earlier)
        start, end = (m.astimezone(UTC) for m in (self.partition.start, self.partition.end))
        later, _ = instants_of_text(texts, "us", self.job.zone, later=True)
        inside, inside_later = (between(m, start, end) for m in (earlier, later))
        moments = pc.if_else(pa.array(inside_later & ~inside), later, earlier)
        # A day begins at 00:00 on the clock even where DST skips that.
        clock, _ = texts.clock("us")
        on_the_clock = between(clock, *self.partition.on_the_clock) & ~texts.zoned
        return moments, ~(inside | inside_later | on_the_clock)

    def _outside(self, name: str, values: pa.Array, origin: str) -> Mask:
        """Return a mask of moments that are null or not in the partition; one without a zone is in
        the job's.
        """
        if pa.types.is_null(values.type):  # nothing but nulls, so nobody knows what they are
            return np.ones(len(values), dtype=bool)
        if pa.types.is_date(values.type):
            values, _ = in_unit(values, "us")
        if not pa.types.is_timestamp(values.type):
            raise ContractError(
                f"{origin}: the date column {name!r} is stored as {type_name(values.type)}, not as "
                "a date or timestamp"
            )
        if self.partition is None:
            return null_mask(values)
        if values.type.tz is None:
            return ~between(values, *self.partition.on_the_clock)
        start, end = (m.astimezone(UTC) for m in (self.partition.start, self.partition.end))
        return ~between(values, start, end)

    def _is_text(self, name: str) -> bool:
        """Return whether the column is text for want of types, which derived columns have."""
        return self.text_only and name not in {*self.job.source.derive, *self.job.added_columns}

    def _number(self, rule: Rule) -> int:
        if rule not in self.rules:
            self.rules.append(rule)
        return self.rules.index(rule) + 1


def between(moments: pa.Array, start: datetime, end: datetime) -> Mask:
    """Return a mask of ``start`` <= moment < ``end``, False for null. All are with a zone, or all
    without.

    In microseconds, which hold all years of Python's datetime: a nanosecond ends at 2262.
    """
    kind = pa.timestamp("us", moments.type.tz)
    moments, _ = in_unit(moments, "us")
    inside = pc.and_(
        pc.greater_equal(moments, pa.scalar(start, kind)), pc.less(moments, pa.scalar(end, kind))
    )
    return np.asarray(inside.fill_null(False))


def _value_rules(
    name: str, values: pa.Array, column: ColumnConfig, nulls: Mask, zone: ZoneInfo
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
        yield Rule("not_allowed", name), ~nulls & ~allowed_mask(values, column, zone)
