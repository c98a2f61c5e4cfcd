"""Quarantined rows: stored with a reason each, never dropped.

A quarantine table has the row ids, then ``row`` (the row's number in the source, from 1),
``reason``, ``column`` (null where the reason is about the whole row), ``value`` (what stood in the
column, as text) and ``partition``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.text import as_text, decoded
from scoring.contract.rules import Rule, Verdicts


def by_verdict(
    ids: pa.Table,
    stored: pa.Table,
    rows: npt.NDArray[np.int64],
    verdicts: Verdicts,
    rules: list[Rule],
    partition: str,
) -> pa.Table:
    """Return the quarantine table of the rows whose verdict is not 0.

    ``ids`` are the typed row ids, ``stored`` the columns as they came, ``rows`` the row numbers;
    all are aligned with ``verdicts``.
    """
    broken = np.flatnonzero(verdicts)
    verdicts = verdicts[broken]
    values = np.full(len(broken), None, dtype=object)
    for number in np.unique(verdicts):
        of_rule = verdicts == number
        column = combined_column(stored, rules[number - 1].column).take(pa.array(broken[of_rule]))
        values[of_rule] = as_text(column).to_pylist()
    by_number = [rules[number - 1] for number in verdicts]
    return _table(ids.take(pa.array(broken)), rows[broken], by_number, values, partition)


def by_rule(ids: pa.Table, rows: npt.NDArray[np.int64], rule: Rule, partition: str) -> pa.Table:
    """Return the quarantine table of ``rows``, with the row ids ``ids``, all for the same rule."""
    values = np.full(len(rows), None, dtype=object)
    return _table(ids, rows, [rule] * len(rows), values, partition)


def of_rejected(
    ids: pa.Table, rows: npt.NDArray[np.int64], rejected: pa.Table, partition: str
) -> pa.Table:
    """Return the quarantine table of what the engine rejected: ``position``, ``reason`` and
    ``column``.

    ``ids`` and ``rows`` are of the table that was scored.
    """
    at = rejected.column("position")
    reasons, about = rejected.column("reason").to_pylist(), rejected.column("column").to_pylist()
    rules = [Rule(*pair) for pair in zip(reasons, about, strict=True)]
    values = np.full(len(rules), None, dtype=object)
    return _table(ids.take(at), rows[at.to_numpy()], rules, values, partition)


def of_left_out(
    ids: pa.Table, rows: npt.NDArray[np.int64], reasons: list[str], partition: str
) -> pa.Table:
    """Return a quarantine table of rows that are left out, each for its one of ``reasons``."""
    values = np.full(len(rows), None, dtype=object)
    return _table(ids, rows, [Rule(reason) for reason in reasons], values, partition)


def reasons(table: pa.Table) -> Iterator[tuple[int, str, str | None, str | None]]:
    """Yield ``row``, ``reason``, ``column`` and ``value`` of each row of a quarantine table."""
    columns = (table.column(name).to_pylist() for name in ("row", "reason", "column", "value"))
    yield from zip(*columns, strict=True)


def _table(
    ids: pa.Table,
    rows: npt.NDArray[np.int64],
    rules: list[Rule],
    values: npt.NDArray[np.object_],
    partition: str,
) -> pa.Table:
    names = [name for name in ids.column_names if name != "row"]  # row_id: row_number
    table = pa.table(
        {"row": pa.array(rows, pa.int64())}
        | {name: decoded(combined_column(ids, name)) for name in names}
    ).select([*names, "row"])
    for name, array in {
        "reason": pa.array([rule.reason for rule in rules], pa.string()),
        "column": pa.array([rule.column for rule in rules], pa.string()),
        "value": pa.array(values, pa.string()),
        "partition": pa.array([partition] * len(rows), pa.string()),
    }.items():
        table = table.append_column(name, array)
    return table
