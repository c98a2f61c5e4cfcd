"""Row accounting: how many rows came in, and how many were quarantined or left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from scoring.contract.advice import advice_for
from scoring.contract.rules import Rule
from scoring.errors import quoted
from scoring.job.schema import Job

EXAMPLE_CHARACTERS = 80
"""How much of a value a message quotes."""


@dataclass
class Tally:
    """How many rows came in, how many were quarantined by which rule, how many left out and why.

    ``quarantined`` and ``examples`` are keyed by the rule as text (``missing_value: dep_delay``).
    At most ``examples_per_rule`` rows are quoted for each rule.
    """

    rows_in: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    examples_per_rule: int = 3
    left_out: dict[str, int] = field(default_factory=dict)
    advice: dict[str, str] = field(default_factory=dict)
    """By rule, what to do in this case, in place of what is advised in general."""

    @property
    def rows_quarantined(self) -> int:
        return sum(self.quarantined.values())

    @property
    def rows_left_out(self) -> int:
        return sum(self.left_out.values())

    @property
    def rows_wanted(self) -> int:
        """The rows that are to be scored: all but those that are left out."""
        return self.rows_in - self.rows_left_out

    def leave_out(self, reasons: Iterable[str]) -> None:
        """Count rows that are left out, each by its reason."""
        for reason, count in Counter(reasons).items():
            self.left_out[reason] = self.left_out.get(reason, 0) + count

    def fraction_of(self, reason: str) -> tuple[int, float]:
        """Return how many rows ``reason`` is given for, and the fraction that they are.

        Of the rows that came in where they are left out, else of those that are to be scored.
        """
        if reason in self.left_out:
            count, of = self.left_out[reason], self.rows_in
        else:
            rules = self.quarantined.items()
            count, of = (
                sum(n for rule, n in rules if Rule.parse(rule).reason == reason),
                self.rows_wanted,
            )
        return count, count / of if of else 0.0

    def add(self, rows: pa.Table) -> None:
        """Count quarantined rows: a table with ``reason``, ``column``, ``value`` and row ids."""
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

    def summary(self, advise_on: Job | None = None) -> str:
        """Return one line per rule, the most frequent first: how many rows break it, and some of
        them.

        With ``advise_on``, the job whose rows they are, each rule is followed by what to do about
        it.
        """
        worst_first = sorted(self.quarantined.items(), key=lambda item: -item[1])
        lines = []
        for rule, count in worst_first:
            shown = "; ".join(self.examples.get(rule, []))
            examples = f", for example {shown}" if shown else ""
            lines.append(
                f"  {quoted(rule, EXAMPLE_CHARACTERS)}: {count:,} "
                f"row{'s' if count > 1 else ''}{examples}"
            )
            if advise_on:
                general = advice_for(Rule.parse(rule), advise_on)
                lines.append(f"    {self.advice.get(rule) or general}")
        return "\n".join(lines)


def _shown(row: dict[str, object], column: str | None) -> str:
    ids = ", ".join(
        _pair(name, value)
        for name, value in row.items()
        if name not in ("row", "reason", "column", "value", "partition")
    )
    value = f", {_pair(column, row['value'])}" if column else ""
    about = f"{ids}{value}".removeprefix(", ")
    return f"row {row['row']} ({about})" if about else f"row {row['row']}"


def _pair(name: str, value: object) -> str:
    return f"{quoted(name, EXAMPLE_CHARACTERS)}={quoted(str(value), EXAMPLE_CHARACTERS)}"
