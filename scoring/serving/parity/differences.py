"""Where answers differ from what is published: all are counted, the first ones kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import Mask
from scoring.errors import quoted

KEPT = 1_000
"""How many differences a report has."""
NOT_PUBLISHED, NOT_ANSWERED = "not published", "not answered"

_SHOWN = 5
_CHARACTERS = 80


@dataclass(frozen=True)
class Difference:
    """A row by its number in the source (None: about the partition) and its ids, and what differs.

    ``column`` is an output, or ``status``, ``reason``, ``column``, ``value``, ``model_version`` or
    ``model_sha256``, or a count. Texts are as they are shown; None where the job hides values.
    """

    row: int | None
    ids: dict[str, str] | None
    column: str
    published: str | None
    answered: str | None

    def __str__(self) -> str:
        where = (
            f"row {self.row:,}"
            if self.row is not None
            else "a row"
            if self.ids
            else "the partition"
        )
        if self.ids:
            where += f" ({', '.join(f'{name}={value}' for name, value in self.ids.items())})"
        if self.published is None or self.answered is None:
            return f"{where}: {self.column} differs"
        if self.published == NOT_PUBLISHED:
            return f"{where} is not published, and answered as {self.answered}"
        if self.answered == NOT_ANSWERED:
            return f"{where} is published as {self.published}, and not answered"
        return (
            f"{where}: {self.column} is published as {self.published}, answered as {self.answered}"
        )


@dataclass
class Differences:
    """Counts all differences, by column, and keeps the first ones.

    ``hidden``: without ids and values, for a job that shows none (``checks.examples: 0``).
    """

    hidden: bool
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Difference] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.counts.total()

    @property
    def in_order(self) -> list[Difference]:
        """The first ones by row; those about the partition come last."""
        return sorted(self.first, key=lambda found: (found.row is None, found.row or 0))

    @property
    def full(self) -> bool:
        """Whether a further one would only be counted."""
        return len(self.first) >= KEPT

    def add(
        self,
        row: int | None,
        ids: Mapping[str, Any],
        column: str,
        published: Any,
        answered: Any,
        *,
        of_job: bool = False,
    ) -> None:
        """Take in one; values that are ``of_job``, and not of a row, are never hidden."""
        self.counts[column] += 1
        if self.full:
            return
        shown = of_job or not self.hidden
        texts = {name: as_shown(value) for name, value in ids.items()}
        self.first.append(
            Difference(
                row,
                texts if not self.hidden else None,
                column,
                as_shown(published) if shown else None,
                as_shown(answered) if shown else None,
            )
        )

    def summary(self) -> str:
        """Return the first ones, a line each."""
        lines = [f"  {difference}" for difference in self.in_order[:_SHOWN]]
        if self.count > len(lines):
            lines.append(f"  and {self.count - len(lines):,} more")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the first ones, for a report."""
        return {
            "count": self.count,
            "by_column": dict(sorted(self.counts.items())),
            "first": [asdict(difference) for difference in self.in_order],
        }


def as_shown(value: Any) -> str:
    """Return ``value`` on one line; a float with all digits that it needs."""
    if value is None:
        return "null"
    text = value.hex() if isinstance(value, bytes) else str(value)
    return quoted(text, _CHARACTERS)


def differing(published: pa.Array, answered: pa.Array) -> Mask:
    """Return a mask of the values of one type that are not the same; floats are compared by their
    bits, but that one NaN is as good as another.
    """
    kind = published.type
    if pa.types.is_nested(kind):
        pairs = zip(published.to_pylist(), answered.to_pylist(), strict=True)
        return np.array([repr(one) != repr(other) for one, other in pairs], dtype=bool)
    one_is_null: Mask = np.asarray(pc.not_equal(published.is_null(), answered.is_null()))
    if pa.types.is_floating(kind):
        other: Mask = _bits(published) != _bits(answered)
        other &= ~(_is_nan(published) & _is_nan(answered))
        both: Mask = np.asarray(pc.and_(published.is_valid(), answered.is_valid()))
        return one_is_null | (other & both)
    unequal: Mask = np.asarray(pc.not_equal(published, answered).fill_null(False))
    return one_is_null | unequal


def _bits(values: pa.Array) -> Any:
    numbers = values.fill_null(0.0).to_numpy(zero_copy_only=False)
    return numbers.view(f"i{numbers.dtype.itemsize}")


def _is_nan(values: pa.Array) -> Mask:
    return np.asarray(pc.is_nan(values.fill_null(0.0)))
