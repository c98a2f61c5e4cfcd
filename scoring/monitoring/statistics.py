"""What a column of a partition looks like, in figures that are taken in batch by batch.

``Counts`` are integers only, and merge by addition: those of two parts of a partition add up to
those of the whole. Numbers are counted in logarithmic buckets, as in DDSketch (Masson, Rim and Lee,
VLDB 2019), so that each quantile is within 1 % of the true value. A bucket is the numbers whose
binary digits begin alike, as in HdrHistogram (https://hdrhistogram.org): with one digit less, two
buckets become one. So the counts of any two months are comparable in the coarser buckets of both,
and a column whose values lie close together, such as years, has finer ones. Mean and standard deviation are
merged by the parallel formula of Chan, Golub and LeVeque (1979). The same batches in the same order
give the same figures.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, field_serializer, field_validator

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
HISTOGRAM_BINS = 20
CLASSES_LISTED = 50
CATEGORIES_LIMIT = 1_000
"""How many different values are counted; the memory that they take must not grow with the rows."""
BUCKETS_WANTED = 512
"""A column with more of them has coarser ones, but never below FEWEST_BITS."""
MOST_BITS, FEWEST_BITS = 12, 6
"""Binary digits after the leading one: 6 make a bucket 1.6 % wide at most, 12 make it 0.02 %."""

_SMALLEST = -30
"""Numbers nearer to zero than two to this power count as zero."""
_EXPONENT_BIAS, _FRACTION_BITS = 1023, 52  # of a double: IEEE 754, binary64

Numbers = npt.NDArray[np.float64]


class Counts(BaseModel):
    """How often a column's values occur: ``rows`` = nulls + those in buckets + those in categories.

    ``buckets`` counts numbers by bucket, whose width is given by ``bits``; ``categories`` counts
    everything else by value. A column has one of the two; where more than CATEGORIES_LIMIT values
    occur, they are ``too_many``.
    """

    model_config = ConfigDict(extra="ignore")

    rows: int = 0
    nulls: int = 0
    bits: int = MOST_BITS
    buckets: dict[int, int] = {}
    categories: dict[str, int] = {}
    too_many: bool = False

    def add(self, values: pa.Array, sign: int = 1) -> None:
        """Take in ``values``; with a ``sign`` of -1, take them out again."""
        self.rows += sign * len(values)
        self.nulls += sign * values.null_count
        if _is_category(values.type):
            self._add_categories(_category_counts(values), sign)
        elif values.null_count < len(values):
            numbers = _numbers(values)
            missing = int(np.isnan(numbers).sum()) - values.null_count
            self.nulls += sign * missing
            if missing or values.null_count:
                numbers = numbers[~np.isnan(numbers)]
            _add_to(self.buckets, _bucket_counts(numbers, self.bits), sign)
            self._coarsen(self.bits)

    def merge(self, other: Counts) -> None:
        """Add the counts of other rows."""
        self.rows += other.rows
        self.nulls += other.nulls
        if other.buckets:
            self._coarsen(other.bits)
            _add_to(self.buckets, other.coarser(self.bits), 1)
            self._coarsen(self.bits)
        self._add_categories(None if other.too_many else other.categories, 1)

    def coarser(self, bits: int) -> dict[int, int]:
        """Return the counts in the buckets of so many bits, which are not more than its own."""
        found: dict[int, int] = {}
        for number, count in self.buckets.items():
            wider = ((abs(number) - 1) >> (self.bits - bits)) + 1
            wider = wider if number > 0 else -wider if number else 0
            found[wider] = found.get(wider, 0) + count
        return found

    def _coarsen(self, bits: int) -> None:
        """Have at most ``bits``, and fewer while there are more buckets than wanted.

        In which order values come does not matter: too many buckets of a part are too many of all.
        """
        while self.bits > bits or (len(self.buckets) > BUCKETS_WANTED and self.bits > FEWEST_BITS):
            self.buckets = self.coarser(self.bits - 1)
            self.bits -= 1

    @field_serializer("buckets")
    def _as_lists(self, buckets: dict[int, int]) -> dict[str, list[int]]:
        numbers = sorted(buckets)
        return {"numbers": numbers, "counts": [buckets[number] for number in numbers]}

    @field_validator("buckets", mode="before")
    @classmethod
    def _from_lists(cls, buckets: Any) -> Any:
        if isinstance(buckets, dict) and set(buckets) == {"numbers", "counts"}:
            return dict(zip(buckets["numbers"], buckets["counts"], strict=True))
        return buckets

    @field_serializer("categories")
    def _most_frequent_first(self, categories: dict[str, int]) -> dict[str, int]:
        return dict(_by_frequency(categories))

    def _add_categories(self, more: dict[str, int] | None, sign: int) -> None:
        """Add counts by value; None stands for too many values."""
        self.too_many = self.too_many or more is None
        if more is not None and not self.too_many:
            _add_to(self.categories, more, sign)
        self.too_many = self.too_many or len(self.categories) > CATEGORIES_LIMIT
        if self.too_many:
            self.categories.clear()

    def quantile(self, q: float) -> float:
        """Return a value in the bucket that quantile ``q`` of the numbers lies in."""
        rank, passed = q * (sum(self.buckets.values()) - 1), 0
        for bucket, count in sorted(self.buckets.items()):
            passed += count
            if passed > rank:
                return value_of(bucket, self.bits)
        raise ValueError("no numbers")


class PredictionStatistics:
    """The figures of one output column, of numbers or of class labels."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._mean = 0.0
        self._squares = 0.0
        self._smallest = math.inf
        self._largest = -math.inf

    def add(self, values: pa.Array) -> None:
        """Take in the next values; none of them is null."""
        self.counts.add(values)
        if not _is_category(values.type) and len(values):
            self._add_moments(_numbers(values))

    def result(self) -> dict[str, Any]:
        """Return the figures as they stand in a manifest; only ``count`` where there is nothing
        else.
        """
        count, counts = self.counts.rows, self.counts
        if counts.categories:
            listed = _by_frequency(counts.categories)[:CLASSES_LISTED]
            return {"count": count, "classes": dict(listed)}
        if not counts.buckets:
            return {"count": count}
        return {
            "count": count,
            "mean": _finite(self._mean),
            "std": _finite(math.sqrt(self._squares / (count - 1)) if count > 1 else 0.0),
            "min": self._smallest,
            "max": self._largest,
            "quantiles": {f"{q:g}": self._quantile(q) for q in QUANTILES},
            "histogram": self._histogram(),
            "buckets": {"bits": counts.bits, **counts.model_dump()["buckets"]},
        }

    def _add_moments(self, numbers: Numbers) -> None:
        before = self.counts.rows - len(numbers)
        with np.errstate(over="ignore", invalid="ignore"):  # too large for a double: see _finite
            mean = np.float64(numbers.mean())
            apart = mean - self._mean
            squares = np.square(numbers - mean).sum()
            squares += apart * apart * before * len(numbers) / self.counts.rows
            self._squares += float(squares)
            self._mean += float(apart * len(numbers) / self.counts.rows)
        self._smallest = min(self._smallest, float(numbers.min()))
        self._largest = max(self._largest, float(numbers.max()))

    def _quantile(self, q: float) -> float:
        return min(max(self.counts.quantile(q), self._smallest), self._largest)

    def _histogram(self) -> dict[str, list[float] | list[int]]:
        """Return counts in equal bins from the smallest to the largest value, each value placed
        within 1 %.
        """
        buckets, bits = self.counts.buckets, self.counts.bits
        # By halves: the distance of the largest doubles is none.
        edges = 2 * np.linspace(self._smallest / 2, self._largest / 2, HISTOGRAM_BINS + 1)
        edges[0], edges[-1] = self._smallest, self._largest
        values = np.clip(values_of(np.array([*buckets]), bits), self._smallest, self._largest)
        if self._smallest == self._largest:
            edges = np.array([self._smallest, self._largest])
            return {"edges": edges.tolist(), "counts": [self.counts.rows]}
        counts, _ = np.histogram(values, bins=edges, weights=list(buckets.values()))
        return {"edges": edges.tolist(), "counts": counts.astype(int).tolist()}


def values_of(buckets: npt.NDArray[np.int64], bits: int) -> Numbers:
    """Return ``value_of`` each of ``buckets``."""
    first = np.maximum(np.abs(buckets) - 1, 0) + ((_EXPONENT_BIAS + _SMALLEST) << bits)
    edges = np.stack([first, first + 1]) << (_FRACTION_BITS - bits)
    low, high = np.minimum(edges.view(np.float64), sys.float_info.max)
    middle = low + (high - low) / 2
    # Of a bucket of 0.1 % or less, any value will do; integers have narrow ones, unless they are many.
    has_integer = (low <= np.floor(middle)) & (bits >= 10)
    return np.asarray(np.sign(buckets) * np.where(has_integer, np.floor(middle), middle))


def value_of(bucket: int, bits: int) -> float:
    """Return a value within 1 % of every value in ``bucket``: an integer, if that can be."""
    return float(values_of(np.array([bucket], np.int64), bits)[0])


def _finite(figure: float) -> float | None:
    """Return ``figure``; None where it is too large for a double, which JSON could not hold either."""
    return figure if math.isfinite(figure) else None


def _is_category(kind: pa.DataType) -> bool:
    return not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    )


def _category_counts(values: pa.Array) -> dict[str, int] | None:
    """Return how often each value occurs that is not null; None where too many do."""
    if pa.types.is_dictionary(values.type):
        found = np.bincount(values.indices.drop_null().to_numpy(), minlength=len(values.dictionary))
        occurring = np.flatnonzero(found)
        if len(occurring) > CATEGORIES_LIMIT:
            return None
        distinct, counts = values.dictionary.take(pa.array(occurring)), found[occurring].tolist()
    else:
        entries = pc.value_counts(values.drop_null())
        if len(entries) > CATEGORIES_LIMIT:
            return None
        distinct, counts = entries.field("values"), entries.field("counts").to_pylist()
    return dict(zip(map(str, distinct.to_pylist()), counts, strict=True))


def _numbers(values: pa.Array) -> Numbers:
    """Return ``values`` as doubles, NaN for null."""
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _bucket_counts(numbers: Numbers, bits: int) -> dict[int, int]:
    found = pc.value_counts(pa.array(_bucket_numbers(numbers, bits)))
    keys, counts = found.field("values").to_pylist(), found.field("counts").to_pylist()
    return dict(zip(keys, counts, strict=True))


def _bucket_numbers(numbers: Numbers, bits: int) -> npt.NDArray[np.int64]:
    """Return bucket numbers ascending with the value: 0 for zero, mirrored below it."""
    digits = np.abs(numbers).view(np.int64) >> (_FRACTION_BITS - bits)
    steps = np.maximum(digits - ((_EXPONENT_BIAS + _SMALLEST) << bits) + 1, 0)
    return np.asarray(np.where(numbers < 0, -steps, steps))


def _by_frequency(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return the counts, the most frequent first, those that are equally frequent by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _add_to(counts: dict[Any, int], more: dict[Any, int], sign: int) -> None:
    for key, count in more.items():
        left = counts.get(key, 0) + sign * count
        if left:
            counts[key] = left
        else:
            counts.pop(key, None)
