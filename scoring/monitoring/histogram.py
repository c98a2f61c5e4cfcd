"""Two distributions of a column side by side, in the same bins: what a picture of them needs.

Made of the counts of a manifest or a training profile, so no row is read.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.monitoring.drift import common_buckets
from scoring.monitoring.statistics import Counts

BINS = 20
"""Numbers have about as many bins; where they have no more different values, each has its own."""
CATEGORIES = 12
"""The categories that are listed; the others are taken together."""
TAILS = 0.005
"""The first and the last bin also have what lies beyond this share of the rows, or a single value
far away would leave one bin for all others."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Bin:
    """Numbers from ``low`` to below ``high``, or the rows whose value is ``label``.

    ``rows`` are of the partition, ``reference`` of what it is compared with. ``label`` says in words
    what the bin has; ``low`` and ``high`` are None for categories and nulls.
    """

    label: str
    rows: int
    reference: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Histogram:
    """``bins`` have all rows of both; the nulls and what is not listed are the last ones.

    ``reference_rows`` is 0 where there is nothing to compare with.
    """

    bins: list[Bin]
    rows: int
    reference_rows: int

    @property
    def is_of_ranges(self) -> bool:
        """Whether the bins are ranges of numbers, so that neighbours touch."""
        return any(one.low is not None for one in self.bins)

    def share(self, one: Bin) -> float:
        return one.rows / self.rows if self.rows else 0.0

    def reference_share(self, one: Bin) -> float:
        return one.reference / self.reference_rows if self.reference_rows else 0.0


def histogram(counts: Counts, reference: Counts | None = None) -> Histogram | None:
    """Return ``counts`` and those of a ``reference`` in common bins.

    None where they cannot be drawn: too many different texts, or numbers beside texts.
    """
    other = reference or Counts()
    has_numbers = bool(counts.buckets or other.buckets)
    has_categories = bool(counts.categories or other.categories)
    if counts.too_many or other.too_many or (has_numbers and has_categories):
        return None
    bins = list(_of_numbers(counts, other) if has_numbers else _of_categories(counts, other))
    if counts.nulls or other.nulls:
        bins.append(Bin("null", counts.nulls, other.nulls))
    return Histogram(bins, counts.rows, other.rows)


def _of_numbers(counts: Counts, other: Counts) -> Iterator[Bin]:
    _, values, sizes = common_buckets(counts, other)
    if len(values) <= BINS:
        for value, (rows, reference) in zip(values.tolist(), sizes.T.tolist(), strict=True):
            yield Bin(f"{value:.6g}", rows, reference)
        return
    edges = _edges(values, sizes)
    mine, others = (
        np.histogram(np.clip(values, edges[0], edges[-1]), edges, weights=of)[0] for of in sizes
    )
    last = len(mine) - 1
    for number, (rows, reference) in enumerate(zip(mine, others, strict=True)):
        low, high = float(edges[number]), float(edges[number + 1])
        beyond = (number == 0 and values[0] < low, number == last and values[-1] > high)
        label = f"{low:.6g} to {high:.6g}"
        if beyond[0]:
            label = f"below {high:.6g}"
        elif beyond[1]:
            label = f"{low:.6g} or more"
        yield Bin(label, int(rows), int(reference), low, high)


def _edges(
    values: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return round edges around all but the tails of either distribution."""
    low, high = math.inf, -math.inf
    for of in sizes:
        if passed := int(of.sum()):
            shares = np.cumsum(of) / passed
            low = min(low, float(values[np.searchsorted(shares, TAILS)]))
            high = max(high, float(values[np.searchsorted(shares, 1 - TAILS)]))
    width = high / BINS - low / BINS  # by parts: the distance of the largest doubles is none
    if not width:
        return np.array([low, np.nextafter(low, math.inf)])
    size = 10.0 ** math.floor(math.log10(width))
    step = next(s for s in _STEPS if s * size >= width * (1 - 1e-9)) * size
    first, last = math.floor(low / step), math.floor(high / step) + 1
    with np.errstate(over="ignore"):
        edges = np.arange(first, last + 1) * step
    return np.clip(edges, -sys.float_info.max, sys.float_info.max)


def _of_categories(counts: Counts, other: Counts) -> Iterator[Bin]:
    """Yield the categories, those first that either of the two has most of."""

    def share(name: str) -> float:
        of = (
            (counts.categories.get(name, 0), counts.rows),
            (other.categories.get(name, 0), other.rows),
        )
        return max(count / rows if rows else 0.0 for count, rows in of)

    names = sorted(counts.categories | other.categories, key=lambda name: (-share(name), name))
    for name in names[:CATEGORIES]:
        yield Bin(name, counts.categories.get(name, 0), other.categories.get(name, 0))
    listed = set(names[:CATEGORIES])
    # Of an output a manifest lists only the most frequent classes.
    rest, reference = (
        of.rows - of.nulls - sum(n for name, n in of.categories.items() if name in listed)
        for of in (counts, other)
    )
    if rest or reference:
        yield Bin("all others", rest, reference)
