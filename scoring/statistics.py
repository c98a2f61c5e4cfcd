"""What the predictions of a partition look like: taken in batch by batch, in constant memory.

Mean and standard deviation are merged by the parallel formula of Chan, Golub and LeVeque (1979).
Quantiles come from logarithmic buckets, as in DDSketch (Masson, Rim and Lee, VLDB 2019): each is
within 1 % of the true value.  The same batches in the same order give the same figures.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
HISTOGRAM_BINS = 20
CLASSES_LISTED = 50
_ACCURACY = 0.01
_GAMMA = (1 + _ACCURACY) / (1 - _ACCURACY)
_SMALLEST = 1e-9
_BUCKET_LIMIT = 1 << 16

Numbers = npt.NDArray[np.float64]


class PredictionStatistics:
    """The figures of one output column, of numbers or of class labels."""

    def __init__(self) -> None:
        self.count = 0
        self._mean = 0.0
        self._squares = 0.0
        self._smallest = math.inf
        self._largest = -math.inf
        self._buckets: Counter[int] = Counter()
        self._classes: Counter[str] = Counter()

    def add(self, values: pa.Array) -> None:
        """Takes in the next values; none of them is null."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        self.count += len(values)
        if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
            if len(values):
                self._add_numbers(values.to_numpy(zero_copy_only=False).astype(np.float64))
        else:
            for entry in pc.value_counts(values).to_pylist():
                self._classes[str(entry["values"])] += entry["counts"]

    def result(self) -> dict[str, Any]:
        """The figures as they stand in a manifest; only ``count`` where there is nothing else."""
        if self._classes:
            listed = sorted(self._classes.items(), key=lambda item: (-item[1], item[0]))
            return {"count": self.count, "classes": dict(listed[:CLASSES_LISTED])}
        if not self._buckets:
            return {"count": self.count}
        return {
            "count": self.count,
            "mean": self._mean,
            "std": math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else 0.0,
            "min": self._smallest,
            "max": self._largest,
            "quantiles": {f"{q:g}": self._quantile(q) for q in QUANTILES},
            "histogram": self._histogram(),
        }

    def _add_numbers(self, numbers: Numbers) -> None:
        before = self.count - len(numbers)
        mean = float(numbers.mean())
        apart = mean - self._mean
        self._squares += float(np.square(numbers - mean).sum())
        self._squares += apart * apart * before * len(numbers) / self.count
        self._mean += apart * len(numbers) / self.count
        self._smallest = min(self._smallest, float(numbers.min()))
        self._largest = max(self._largest, float(numbers.max()))
        found, counts = np.unique(_bucket_numbers(numbers), return_counts=True)
        self._buckets.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def _quantile(self, q: float) -> float:
        rank, passed = q * (self.count - 1), 0
        for bucket, count in sorted(self._buckets.items()):
            passed += count
            if passed > rank:
                return min(max(_value_of(bucket), self._smallest), self._largest)
        return self._largest

    def _histogram(self) -> dict[str, list[float] | list[int]]:
        """Equal bins from the smallest to the largest value, each value placed within 1 %."""
        edges = np.linspace(self._smallest, self._largest, HISTOGRAM_BINS + 1)
        values = np.clip([_value_of(b) for b in self._buckets], self._smallest, self._largest)
        weights = list(self._buckets.values())
        if self._smallest == self._largest:
            edges = np.array([self._smallest, self._largest])
            return {"edges": edges.tolist(), "counts": [self.count]}
        counts, _ = np.histogram(values, bins=edges, weights=weights)
        return {"edges": edges.tolist(), "counts": counts.astype(int).tolist()}


def _bucket_numbers(numbers: Numbers) -> npt.NDArray[np.int64]:
    """Ascending with the value: 0 for zero, mirrored below it, one step for 2 % of size."""
    size = np.maximum(np.abs(numbers), _SMALLEST)
    steps = np.ceil(np.log(size / _SMALLEST) / math.log(_GAMMA)).astype(np.int64)
    return np.asarray(np.sign(numbers).astype(np.int64) * np.minimum(steps, _BUCKET_LIMIT))


def _value_of(bucket: int) -> float:
    size = _SMALLEST * 2 * _GAMMA ** abs(bucket) / (_GAMMA + 1)
    return math.copysign(size, bucket) if bucket else 0.0
