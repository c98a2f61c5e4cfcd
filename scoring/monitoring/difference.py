"""How the predictions of one version differ from those of another, row by row.

The rows are the tables ``base`` and ``other`` of a DuckDB connection, which keeps on disk what does
not fit into memory: ``key``, ``prediction``, ``p0``, ``p1``, … and ``k0``, ``k1``, …, the columns that make
segments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CLASSES_SHOWN = 20
SEGMENTS_SHOWN = 20
SEGMENTS_AT_MOST = 1_000
"""A column with more values, such as an id, does not make segments."""


class _Figures(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ChangedClass(_Figures):
    """So many rows are of the class ``other`` instead of ``base``."""

    base: str
    other: str
    rows: int


class _Counts(_Figures):
    """Of the rows that are compared, ``rows`` have a prediction in both, ``only_base`` and
    ``only_other`` in one of them. ``changed`` of ``rows`` have another prediction.
    """

    rows: int
    only_base: int
    only_other: int
    changed: int
    mean_change: float | None = None
    max_abs_change: float | None = None

    @property
    def changed_fraction(self) -> float:
        """The share of the rows in either that differ, or are in one only."""
        differ = self.changed + self.only_base + self.only_other
        return differ / self.rows_in_either if differ else 0.0

    @property
    def rows_in_either(self) -> int:
        return self.rows + self.only_base + self.only_other


class Segment(_Counts):
    """The rows with one ``value`` of a kept column, None for null."""

    value: str | None


class Difference(_Counts):
    """How other predictions differ from those of the base.

    Changes are other minus base, over all ``rows``; they are None for predictions other than numbers.
    ``classes`` has the most frequent changes of class, and is empty for predictions that may be
    fractions. ``probabilities`` has the largest change of each. ``segments`` has, by column, the
    values with the most rows, where there are few enough of them.
    """

    mean_abs_change: float | None = None
    classes: list[ChangedClass] = []
    probabilities: dict[str, float] = {}
    segments: dict[str, list[Segment]] = {}


def is_number(kind: pa.DataType) -> bool:
    """Return whether predictions of this type can change by more or less."""
    return bool(
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    )


def difference(
    connection: DuckDBPyConnection,
    kinds: tuple[pa.DataType, pa.DataType],
    probabilities: list[str],
    segments: list[str],
) -> Difference:
    """Return the difference of the tables ``base`` and ``other``, of predictions of the types
    ``kinds``.

    ``probabilities`` and ``segments`` are the names of the columns ``p0``, … and ``k0``, …
    """
    more = [f", abs(b.p{i} - a.p{i}) AS p{i}" for i in range(len(probabilities))]
    more += [
        f", coalesce(CAST(b.k{i} AS VARCHAR), CAST(a.k{i} AS VARCHAR)) AS k{i}"
        for i in range(len(segments))
    ]
    connection.execute(
        "CREATE TABLE pairs AS SELECT a.prediction AS base, b.prediction AS other, "
        "a.key IS NOT NULL AS in_base, b.key IS NOT NULL AS in_other, "
        "a.key IS NOT NULL AND b.key IS NOT NULL AND a.prediction IS DISTINCT FROM b.prediction "
        f"AS changed, CAST({_change(kinds)} AS DOUBLE) AS change{''.join(more)} "
        "FROM base a FULL JOIN other b ON a.key = b.key"
    )
    found = connection.execute(
        f"SELECT {_COUNTS}, fsum(abs(change)) / count(change) FROM pairs"
    ).fetchone()
    assert found is not None
    return Difference(
        **_counts(found[:-1]),
        mean_abs_change=_finite(found[-1]),
        classes=[] if any(map(pa.types.is_floating, kinds)) else _classes(connection),
        probabilities=_probabilities(connection, probabilities),
        segments={
            name: _segments(connection, f"k{i}")
            for i, name in enumerate(segments)
            if _has_few_values(connection, f"k{i}")
        },
    )


def _change(kinds: tuple[pa.DataType, pa.DataType]) -> str:
    """Return the change in SQL: exact for integers, of which a float does not hold all."""
    if not all(map(is_number, kinds)):
        return "NULL"
    kind = "HUGEINT" if all(map(pa.types.is_integer, kinds)) else "DOUBLE"
    return f"CAST(b.prediction AS {kind}) - CAST(a.prediction AS {kind})"


_COUNTS = (
    "count(*) FILTER (in_base AND in_other), count(*) FILTER (NOT in_other), "
    "count(*) FILTER (NOT in_base), count(*) FILTER (changed), "
    "fsum(change) / count(change), max(abs(change))"
)


def _counts(found: Sequence[Any]) -> dict[str, Any]:
    rows, only_base, only_other, changed, mean, largest = found
    return {
        "rows": rows,
        "only_base": only_base,
        "only_other": only_other,
        "changed": changed,
        "mean_change": _finite(mean),
        "max_abs_change": _finite(largest),
    }


def _classes(connection: DuckDBPyConnection) -> list[ChangedClass]:
    found = connection.execute(
        "SELECT CAST(base AS VARCHAR) AS one, CAST(other AS VARCHAR) AS two, count(*) AS n "
        f"FROM pairs WHERE changed GROUP BY one, two ORDER BY n DESC, one, two LIMIT {CLASSES_SHOWN}"
    ).fetchall()
    return [ChangedClass(base=base, other=other, rows=rows) for base, other, rows in found]


def _probabilities(connection: DuckDBPyConnection, names: list[str]) -> dict[str, float]:
    if not names:
        return {}
    columns = ", ".join(f"max(p{i})" for i in range(len(names)))
    found = connection.execute(f"SELECT {columns} FROM pairs").fetchone() or ()
    return {name: of for name, of in zip(names, found, strict=True) if of is not None}


def _has_few_values(connection: DuckDBPyConnection, column: str) -> bool:
    found = connection.execute(f"SELECT approx_count_distinct({column}) FROM pairs").fetchone()
    return found is not None and found[0] <= SEGMENTS_AT_MOST


def _segments(connection: DuckDBPyConnection, column: str) -> list[Segment]:
    found = connection.execute(
        f"SELECT {column} AS value, {_COUNTS} FROM pairs GROUP BY value "
        f"ORDER BY count(*) DESC, value LIMIT {SEGMENTS_SHOWN}"
    ).fetchall()
    return [Segment(value=value, **_counts(counts)) for value, *counts in found]


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
