from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2, ks_2samp, wasserstein_distance

from scoring import training_profile
from scoring.monitoring.distribution import Distribution, of_tables
from scoring.monitoring.drift import ColumnDrift, compare, threshold, worst_first

DRAWS = 1_000


def drift(values: Any, reference: Any) -> ColumnDrift:
    """The drift of one column; lists and arrays become Arrow columns, None a null."""
    mine, other = (of_tables(pa.table({"x": v})).inputs for v in (values, reference))
    (found,) = compare("input", mine, "before", other)
    return found


def normal(rows: int, mean: float = 0.0, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, rows)


MONTHS = {
    "normal": normal(28_000),
    "skewed": np.random.default_rng(2).lognormal(3.0, 2.0, 28_000),
    "hours": np.random.default_rng(3).integers(0, 24, 28_000),
    "years": np.random.default_rng(4).integers(1990, 2014, 28_000),
    "many zeros": np.where(normal(28_000, seed=5) > 0.3, normal(28_000, seed=6), 0.0),
    "three values": np.random.default_rng(7).choice([1.0, 2.0, 5.0], 28_000),
    "categories": np.random.default_rng(8).zipf(1.5, 28_000).clip(max=120).astype(str),
    "flags": np.random.default_rng(9).random(28_000) < 0.02,
    "with nulls": np.where(normal(28_000, seed=10) > 1.0, np.nan, normal(28_000, seed=11)),
}


@pytest.mark.parametrize("rows", [100, 1_000, 28_000])
def test_draws_from_the_same_month_seldom_warn(rows: int):
    random = np.random.default_rng(2013)
    warned = dict.fromkeys(MONTHS, 0)
    references = of_tables(pa.table({name: pa.array(v) for name, v in MONTHS.items()})).inputs
    draws = {100: DRAWS, 1_000: 200, 28_000: 20}[rows]  # 0.1 is far beyond the chance of many rows
    for _ in range(draws):
        picked = random.integers(0, 28_000, rows)
        table = pa.table({name: pa.array(v[picked]) for name, v in MONTHS.items()})
        for found in compare("input", of_tables(table).inputs, "month", references):
            assert found.verdict in ("ok", "warn")
            warned[found.column] += found.has_moved
    assert max(warned.values()) <= 0.005 * draws, warned


@pytest.mark.parametrize("rows", [1_000, 28_000])
@pytest.mark.parametrize(
    ("values", "reference"),
    [
        ("shifted", normal(28_000)),
        ("other share", MONTHS["three values"]),
        ("new category", MONTHS["categories"]),
        ("nulls", MONTHS["normal"]),
        ("out of range", MONTHS["hours"]),
        ("next year", MONTHS["years"]),
    ],
)
def test_what_has_moved_is_a_warning(values: str, reference: np.ndarray, rows: int):
    random = np.random.default_rng(2014)
    drawn = reference[random.integers(0, len(reference), rows)]
    changed = {
        "shifted": lambda: drawn + 0.5,
        "other share": lambda: np.where(random.random(rows) < 0.3, 5.0, drawn),
        "new category": lambda: np.where(random.random(rows) < 0.05, "unseen", drawn),
        "nulls": lambda: np.where(random.random(rows) < 0.05, np.nan, drawn),
        "out of range": lambda: np.where(random.random(rows) < 0.05, 99, drawn),
        "next year": lambda: drawn + 3,
    }[values]()
    found = drift(pa.array(changed), reference)
    assert found.verdict == "warn"
    assert found.psi is not None
    assert found.psi_warns is not None
    assert found.psi >= found.psi_warns


def test_the_threshold_is_a_tenth_or_what_chance_gives_to_few_rows():
    assert threshold(10, 28_000, 160_000) == 0.1
    expected = chi2.ppf(0.999, 9) * (1 / 100 + 1 / 400)
    assert threshold(10, 100, 400) == pytest.approx(expected)
    assert expected > 0.3


@pytest.mark.parametrize("name", ["normal", "skewed", "hours", "years", "many zeros"])
def test_distances_are_those_of_the_values_themselves(name: str):
    reference, mine = MONTHS[name], MONTHS[name][:9_000] * 1.25
    found = drift(mine, reference)
    assert found.ks == pytest.approx(ks_2samp(mine, reference).statistic, abs=0.012)
    distance = wasserstein_distance(mine, reference) / reference.std()
    assert found.wasserstein == pytest.approx(distance, rel=0.03)


def test_the_same_values_have_not_moved_at_all():
    for name, values in MONTHS.items():
        found = drift(pa.array(values), pa.array(values))
        assert found.psi == 0.0, name
        assert found.jensen_shannon == 0.0, name
        assert found.new == 0.0, name


def test_few_rows_are_not_judged():
    found = drift(normal(99, mean=9.0), normal(28_000))
    assert (found.verdict, found.psi) == ("too few rows", None)
    assert drift(normal(28_000, mean=9.0), normal(99)).verdict == "too few rows"


def test_a_column_that_the_reference_lacks_is_new():
    mine = of_tables(pa.table({"x": [1.0] * 200})).inputs
    (found,) = compare("input", mine, "before", {})
    assert (found.verdict, found.rows) == ("new column", 200)


@pytest.mark.parametrize(
    ("values", "reference", "verdict"),
    [
        ([5.0] * 500, [5.0] * 500, "ok"),
        ([5.0] * 500, [6.0] * 500, "warn"),
        ([3.0] * 500, [5.0] * 500, "warn"),  # below a constant, in its first group
        ([None] * 500, [None] * 500, "ok"),
        ([None] * 500, [5.0] * 500, "warn"),
        ([5.0] * 500, [None] * 500, "warn"),
        (["a"] * 500, ["b"] * 500, "warn"),
        (["a"] * 500, [None] * 500, "warn"),
        ([], [5.0] * 500, "too few rows"),
        ([0.0] * 500, [-0.0] * 500, "ok"),
        ([1.7e308] * 500, [-1.7e308] * 500, "warn"),
    ],
)
def test_constant_and_empty_columns_are_compared(values: list, reference: list, verdict: str):
    kind = pa.string() if "a" in values else pa.float64()
    found = drift(pa.array(values, kind), pa.array(reference, kind))
    assert found.verdict == verdict
    if found.psi is not None:
        assert np.isfinite(found.psi)


def test_more_categories_than_are_counted_are_not_compared_but_their_nulls_are():
    ids = [f"user-{n}" for n in range(2_000)]
    assert drift(ids, ids).verdict == "not comparable"
    assert drift(pa.array([*ids[:1_000], *[None] * 1_000]), ids).verdict == "warn"


def test_numbers_that_have_become_texts_are_not_comparable():
    assert drift(["1"] * 500, [1] * 500).verdict == "not comparable"


def test_the_worst_come_first_in_units_of_what_warns():
    found = [drift(normal(5_000, mean), normal(28_000)) for mean in (0.0, 1.0, 0.4)]
    assert [one.psi for one in worst_first(found)] == sorted(
        (one.psi or 0.0 for one in found), reverse=True
    )


def test_a_profile_is_read_as_it_was_written_and_of_the_same_bytes_in_any_parts():
    table = pa.table({name: pa.array(values) for name, values in MONTHS.items()})
    whole = of_tables(table)
    parts = Distribution()
    for at in range(0, 28_000, 2_800):
        parts.add(of_tables(table.slice(at, 2_800)))
    assert parts.to_json() == whole.to_json()
    assert Distribution.model_validate_json(whole.to_json()) == whole


def test_a_profile_is_made_of_the_frames_of_a_training_script():
    frame = pd.DataFrame(
        {"x": [1.0, None, 2.0], "zone": ["a", "b", None], "flag": [True, False, True]}
    )
    text = training_profile(frame, pd.DataFrame({"y": [5, 5, 6]}))
    found = Distribution.model_validate_json(text)
    assert (found.inputs["x"].rows, found.inputs["x"].nulls) == (3, 1)
    assert found.inputs["zone"].categories == {"a": 1, "b": 1}
    assert found.inputs["flag"].categories == {"True": 2, "False": 1}
    assert sorted(found.outputs["y"].buckets.values()) == [1, 2]


FLIGHTS = ["carrier", "origin", "dest", "dep_delay", "distance", "hour"]


def flights(data: Path, month: int) -> pa.Table:
    path = data / f"flights/year=2013/month={month:02d}/flights.parquet"
    return pq.ParquetFile(path).read(FLIGHTS)


def test_a_profile_of_january_warns_where_a_season_has_moved(example_data: Path):
    january = of_tables(flights(example_data, 1)).inputs
    moved = {
        month: {
            found.column
            for found in compare(
                "input", of_tables(flights(example_data, month)).inputs, "January", january
            )
            if found.has_moved
        }
        for month in range(1, 13)
    }
    # New York flies to other places in summer; aircraft, hours and distances stay what they are.
    assert moved[1] == moved[2] == set()
    assert all("dest" in moved[month] for month in (7, 8, 9))
    assert set().union(*moved.values()) <= {"dest", "dep_delay"}


@pytest.mark.parametrize("rows", [100, 1_000])
def test_a_bootstrap_of_a_real_month_seldom_warns(example_data: Path, rows: int):
    may = flights(example_data, 5)
    reference, random = of_tables(may).inputs, np.random.default_rng(2013)
    warned = dict.fromkeys(FLIGHTS, 0)
    for _ in range(DRAWS):
        drawn = of_tables(may.take(random.integers(0, may.num_rows, rows))).inputs
        for found in compare("input", drawn, "May", reference):
            warned[found.column] += found.has_moved
    assert max(warned.values()) <= 0.005 * DRAWS, warned
