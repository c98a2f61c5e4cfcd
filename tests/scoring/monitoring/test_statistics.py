from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scoring.monitoring.statistics import HISTOGRAM_BINS, QUANTILES, PredictionStatistics

RANDOM = np.random.default_rng(2013)
SAMPLES = {
    "normal": RANDOM.normal(7.0, 12.0, 20_000),
    "far from zero": RANDOM.normal(1e9, 1.0, 20_000),
    "skewed": RANDOM.lognormal(2.0, 1.5, 20_000),
    "tiny": RANDOM.uniform(1e-6, 1e-5, 20_000),
    "huge": RANDOM.uniform(-1e150, 1e150, 20_000),
    "negative": -RANDOM.exponential(3.0, 20_000),
    "probabilities": RANDOM.uniform(0.0, 1.0, 20_000),
    "few values": RANDOM.choice([-2.0, 0.0, 5.0], 20_000),
}


def batches(values: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield from np.split(values, range(size, len(values), size))


def figures(values: Any, size: int = 4096) -> dict[str, Any]:
    statistics = PredictionStatistics()
    for batch in batches(np.asarray(values), size):
        statistics.add(pa.array(batch))
    return statistics.result()


@pytest.mark.parametrize("name", SAMPLES)
def test_mean_std_and_extremes_are_those_of_numpy(name: str):
    values = SAMPLES[name]
    found = figures(values)
    assert found["count"] == len(values)
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-9)
    assert found["std"] == pytest.approx(values.std(ddof=1), rel=1e-9)
    assert (found["min"], found["max"]) == (values.min(), values.max())


@pytest.mark.parametrize("name", SAMPLES)
def test_quantiles_are_within_one_percent_of_a_value_of_that_rank(name: str):
    values = np.sort(SAMPLES[name])
    found = figures(values)["quantiles"]
    assert list(found) == ["0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"]
    for q in QUANTILES:
        true = values[math.floor(q * (len(values) - 1))]
        assert found[f"{q:g}"] == pytest.approx(true, rel=0.0101)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_histogram_counts_every_value_once_and_near_its_bin(name: str):
    values = SAMPLES[name]
    histogram = figures(values)["histogram"]
    edges, counts = histogram["edges"], histogram["counts"]
    assert (edges[0], edges[-1]) == (values.min(), values.max())
    assert len(counts) == len(edges) - 1 == HISTOGRAM_BINS
    assert sum(counts) == len(values)
    # Each value is known within 1 %: it may have slipped over an edge, but not farther.
    slack = np.abs(edges[1:-1]) * 0.0101
    below = np.cumsum(counts)[:-1]
    assert np.all(
        below >= [(values < e - s).sum() for e, s in zip(edges[1:-1], slack, strict=True)]
    )
    assert np.all(
        below <= [(values <= e + s).sum() for e, s in zip(edges[1:-1], slack, strict=True)]
    )


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("size", [7, 1000, 20_000])
def test_the_size_of_the_batches_does_not_matter(name: str, size: int):
    one, other = figures(SAMPLES[name], 4096), figures(SAMPLES[name], size)
    for exact in ("count", "min", "max", "quantiles", "histogram"):
        assert one[exact] == other[exact]
    assert one["mean"] == pytest.approx(other["mean"], rel=1e-12)
    assert one["std"] == pytest.approx(other["std"], rel=1e-8)


@given(
    st.lists(
        st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-8), min_size=1, max_size=50
    ),
    st.integers(1, 50),
)
@example([0.0], 1)
@example([1.0, math.nextafter(1.0, 2.0)], 1)
@example([-1.0, 1.0], 1)
def test_any_numbers_have_true_figures(numbers: list[float], size: int):
    values = np.sort(np.array(numbers))
    found = figures(values, size)
    scale = np.abs(values).max()
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-9, abs=1e-12 * scale)
    assert found["std"] == pytest.approx(
        values.std(ddof=1) if len(values) > 1 else 0.0, rel=1e-6, abs=1e-9 * scale
    )
    for q in QUANTILES:
        true = values[math.floor(q * (len(values) - 1))]
        assert found["quantiles"][f"{q:g}"] == pytest.approx(true, rel=0.0101)
    assert sum(found["histogram"]["counts"]) == len(values)


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.float32(), pa.float64()])
def test_numbers_of_every_type_have_the_same_figures(kind: pa.DataType):
    statistics = PredictionStatistics()
    statistics.add(pa.array([1, 2, 3, 10], kind))
    found = statistics.result()
    assert (found["count"], found["mean"], found["min"], found["max"]) == (4, 4.0, 1.0, 10.0)
    assert found["std"] == pytest.approx(math.sqrt(50 / 3))


def test_one_value_has_no_spread():
    found = figures([5.0])
    assert (found["mean"], found["std"], found["min"], found["max"]) == (5.0, 0.0, 5.0, 5.0)
    assert set(found["quantiles"].values()) == {5.0}
    assert found["histogram"] == {"edges": [5.0, 5.0], "counts": [1]}


def test_numbers_below_a_billionth_count_as_zero_in_quantiles():
    found = figures([1e-12, -1e-12, 1e-300])
    assert set(found["quantiles"].values()) <= {0.0, 1e-12, -1e-12}


def test_no_values_have_no_figures():
    assert PredictionStatistics().result() == {"count": 0}
    assert figures(np.array([], dtype=float)) == {"count": 0}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (pa.array(["late", "on time", "late"]), {"late": 2, "on time": 1}),
        (pa.array(["b", "a", "b", "a"]).dictionary_encode(), {"a": 2, "b": 2}),
        (pa.array([True, False, True]), {"True": 2, "False": 1}),
        (pa.array([date(2013, 5, 7)]), {"2013-05-07": 1}),
    ],
)
def test_labels_are_counted_the_most_frequent_first(values: pa.Array, classes: dict[str, int]):
    statistics = PredictionStatistics()
    statistics.add(values)
    statistics.add(values.slice(0, 0))
    found = statistics.result()
    assert found == {"count": len(values), "classes": classes}
    assert list(found["classes"]) == list(classes)


def test_of_many_labels_fifty_are_listed():
    statistics = PredictionStatistics()
    for n in range(60):
        statistics.add(pa.array([f"label {n:02}"] * (60 - n)))
    found = statistics.result()
    assert found["count"] == 60 * 61 / 2
    assert list(found["classes"]) == [f"label {n:02}" for n in range(50)]


def test_the_figures_are_json_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = figures(SAMPLES["huge"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
