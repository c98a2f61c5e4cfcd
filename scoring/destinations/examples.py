"""A few of the quarantined rows of a partition, for somebody who looks at it.

A quarantine may have millions of rows. Only its beginning is read: row groups until each rule has
its examples, and never more than a fixed number of bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scoring.contract.rules import Rule
from scoring.errors import quoted
from scoring.storage.base import ReadableStorage

MOST_BYTES = 64_000_000
"""Of row groups, as they are without compression."""
MOST_CHARACTERS = 80
"""How much of a value is kept."""

_BATCH_ROWS = 4_096
_OWN = ("row", "reason", "column", "value", "partition")


@dataclass(frozen=True)
class QuarantinedRow:
    """A row by its number in the source and its ``ids``; ``value`` stood in ``column``, None for a
    null. ``column`` is None for a rule about the whole row.
    """

    row: int
    ids: dict[str, str]
    column: str | None
    value: str | None


def quarantine_examples(
    storage: ReadableStorage,
    uri: str,
    counts: Mapping[str, int],
    each: int,
    most_bytes: int = MOST_BYTES,
) -> dict[str, list[QuarantinedRow]]:
    """Return up to ``each`` of the first rows of every rule in the quarantine at ``uri``.

    ``counts`` has the rules that there are, as in the manifest. A rule is left out whose rows begin
    later than what is read. Raises OSError where there is no such file.
    """
    import pyarrow.parquet as pq

    found: dict[str, list[QuarantinedRow]] = {}
    if not each:
        return found
    wanted = sum(min(count, each) for count in counts.values())
    with storage.open(uri) as opened, pq.ParquetFile(opened, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            most_bytes -= file.metadata.row_group(group).total_byte_size
            if most_bytes < 0:
                break
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
                _take(batch, each, found)
                if sum(map(len, found.values())) >= wanted:
                    return found
    return found


def _take(batch: Any, each: int, found: dict[str, list[QuarantinedRow]]) -> None:
    """Add the first rows of each rule in ``batch``, where it has fewer than ``each``."""
    reasons, columns = batch.column("reason").to_pylist(), batch.column("column").to_pylist()
    for place, (reason, column) in enumerate(zip(reasons, columns, strict=True)):
        rows = found.setdefault(str(Rule(reason, column)), [])
        if len(rows) < each:
            row = batch.slice(place, 1).to_pylist()[0]
            ids = {name: _shown(row[name]) for name in row if name not in _OWN}
            value = None if row["value"] is None else _shown(row["value"])
            rows.append(QuarantinedRow(row["row"], ids, column, value))


def _shown(value: object) -> str:
    return quoted(str(value), MOST_CHARACTERS)
