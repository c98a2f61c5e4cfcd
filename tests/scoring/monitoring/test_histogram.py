"""Two distributions in the same bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scoring.monitoring.histogram import BINS, CATEGORIES, histogram
from scoring.monitoring.statistics import Counts


def counts(values: Any) -> Counts:
    found = Counts()
    found.add(pa.array(values))
    return found


NORMAL = np.random.default_rng(1).normal(0.0, 1.0, 20_000)


def test_bins_are_those_of_numpy_within_the_width_of_a_bucket():
    found = histogram(counts(NORMAL), counts(NORMAL[:5_000] + 1.0))
    assert found is not None
    assert (found.rows, found.reference_rows) == (20_000, 5_000)
    assert sum(one.rows for one in found.bins) == 20_000
    assert sum(one.reference for one in found.bins) == 5_000
    edges = [one.low for one in found.bins] + [found.bins[-1].high]
    assert all(
        one.high == following.low
        for one, following in zip(found.bins, found.bins[1:], strict=False)
    )
    expected, _ = np.histogram(np.clip(NORMAL, edges[0], edges[-1]), edges)
    for one, count in zip(found.bins, expected, strict=True):
        assert one.rows == pytest.approx(count, abs=0.01 * 20_000)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 37.0, 1e12])
def test_edges_are_round_and_neither_too_many_nor_too_few(scale: float):
    found = histogram(counts(NORMAL * scale))
    assert found is not None
    assert found.is_of_ranges
    assert BINS / 3 <= len(found.bins) <= BINS + 2
    for one in found.bins:
        assert float(f"{one.low:.2g}") == pytest.approx(one.low, rel=1e-9, abs=scale * 1e-9)


def test_a_value_far_away_leaves_the_bins_of_the_others_as_they_are():
    found = histogram(counts([*NORMAL, 1e9]))
    assert found is not None
    assert found.bins[-1].label.endswith(" or more")
    assert found.bins[-1].high < 10
    assert sum(one.rows for one in found.bins) == 20_001


def test_a_few_values_have_a_bin_each():
    found = histogram(counts([1, 1, 2, 5, None]), counts([5, 7]))
    assert found is not None
    assert [(b.label, b.rows, b.reference) for b in found.bins] == [
        ("1", 2, 0),
        ("2", 1, 0),
        ("5", 1, 1),
        ("7", 0, 1),
        ("null", 1, 0),
    ]
    assert not found.is_of_ranges


def test_categories_that_either_has_most_of_come_first():
    mine = [f"c{number:02}" for number in range(30) for _ in range(30 - number)]
    found = histogram(counts([*mine, None]), counts(["c29"] * 10))
    assert found is not None
    labels = [one.label for one in found.bins]
    assert labels[:2] == ["c29", "c00"]
    assert labels[-2:] == ["all others", "null"]
    assert len(labels) == CATEGORIES + 2
    assert sum(one.rows for one in found.bins) == found.rows == len(mine) + 1
    assert found.reference_share(found.bins[0]) == 1.0


def test_classes_that_a_manifest_does_not_list_are_others():
    found = histogram(Counts(rows=100, categories={"yes": 60, "no": 30}))
    assert found is not None
    assert [(b.label, b.rows) for b in found.bins] == [("yes", 60), ("no", 30), ("all others", 10)]


@pytest.mark.parametrize("values", [[float(v) for v in [5] * 9], [None, None], []])
def test_one_value_nulls_and_nothing(values: list[Any]):
    found = histogram(counts(pa.array(values, pa.float64())))
    assert found is not None
    assert sum(one.rows for one in found.bins) == len(values)
    assert len(found.bins) <= 1


@pytest.mark.parametrize("largest", [1.7e308, 1e-300])
def test_the_largest_and_smallest_doubles(largest: float):
    found = histogram(counts(np.linspace(-1.0, 1.0, 5_000) * largest))
    assert found is not None
    assert sum(one.rows for one in found.bins) == 5_000


def test_what_cannot_be_drawn_has_none():
    assert histogram(counts([str(n) for n in range(2_000)])) is None
    assert histogram(counts([1.0]), counts(["a"])) is None
