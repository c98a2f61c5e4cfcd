"""Nothing is lost: every row that comes in is published or quarantined, once, under its own id."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.pipeline import extract as extract_module
from tests.scoring.factories import Place, in_shards_of, predictions, reasons, run_steps

SCORER = """
def run(df):
    y = df["x"] * 2
    return y.where(y != 14.0).to_frame("y")
"""
"""Predicts twice x, but nothing for x = 7."""

JOB: dict[str, Any] = {
    "model": None,
    "scorer": "scorer.py",
    "row_id": ["id", "leg"],
    "inputs": {
        "x": {"type": "float64", "min": -10},
        "n": {"type": "int8", "nullable": True, "max": 100},
        "kind": {"type": "string", "allowed": ["a", "b"]},
    },
    "output": {"prediction": "y", "keep": ["kind"]},
    "checks": {"max_quarantined_fraction": 1.0, "min_rows": 0},
}

Row = tuple[int | None, str | None, float | None, float | None, str | None]

values = st.tuples(
    st.none() | st.integers(1, 6),
    st.none() | st.sampled_from("uvw"),
    st.sampled_from([None, 1.5, -3.0, 7.0, -11.0, math.inf, math.nan]),
    st.sampled_from([None, 1.0, 2.5, 100.0, 101.0, 300.0]),
    st.sampled_from([None, "a", "b", "c"]),
)
good = st.tuples(
    st.integers(1, 6), st.sampled_from("uvw"), st.just(4.0), st.just(1.0), st.sampled_from("ab")
)
tables = st.lists(values | good, max_size=40)
NAMES = ("id", "leg", "x", "n", "kind")


def reason_of(row: Row, seen: set[tuple[Any, ...]]) -> tuple[str, str | None] | None:
    """Why a row is quarantined, by the words of the job, not by the code under test."""
    number, leg, x, n, kind = row
    if number is None or leg is None:
        return "null_row_id", "id" if number is None else "leg"
    if x is None or math.isnan(x):
        return "missing_value", "x"
    if math.isinf(x) or x < -10:
        return "infinite" if math.isinf(x) else "below_min", "x"
    if n is not None and (n != int(n) or n > 127):
        return "wrong_type", "n"
    if n is not None and n > 100:
        return "above_max", "n"
    if kind not in ("a", "b"):
        return "missing_value" if kind is None else "not_allowed", "kind"
    if (number, leg) in seen:
        return "duplicate_row_id", None
    seen.add((number, leg))
    return ("null_prediction", "y") if x == 7 else None


def as_parquet(place: Place, table: list[Row], row_group_size: int) -> None:
    kinds = [pa.int64(), pa.string(), pa.float64(), pa.float64(), pa.string()]
    columns = list(zip(*table, strict=True)) or [()] * 5
    arrays = [pa.array(c, k, from_pandas=False) for c, k in zip(columns, kinds, strict=True)]
    place.source(pa.table(arrays, names=NAMES), row_group_size=row_group_size)


def as_csv(place: Place, table: list[Row], _: int) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(NAMES)
    writer.writerows(["" if v is None else v for v in row] for row in table)
    place.csv(text.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conservation")


@pytest.mark.parametrize("write", [as_parquet, as_csv])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, st.integers(1, 12), st.integers(1, 9), st.integers(1, 9))
def test_every_row_is_published_or_quarantined_with_its_reason(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Any,
    table: list[Row],
    shard_rows: int,
    batch_rows: int,
    row_group_size: int,
):
    monkeypatch.setattr(extract_module, "BATCH_ROWS", batch_rows)
    place = Place(folder)
    write(place, table, row_group_size)
    place.scorer(SCORER)
    suffix = "csv" if write is as_csv else "parquet"
    job = place.job(**JOB, source={"uri": f"{{data}}/source/{{partition}}.{suffix}"})

    manifest = run_steps(place.run(in_shards_of(job, shard_rows)))

    seen: set[tuple[Any, ...]] = set()
    expected = {row: reason_of(values, seen) for row, values in enumerate(table, start=1)}
    bad = {row: reason for row, reason in expected.items() if reason is not None}
    kept = [table[row - 1] for row in expected if row not in bad]
    assert reasons(manifest) == bad
    published = predictions(manifest)
    ids = published.column("id").cast(pa.int64()).to_pylist()
    assert list(
        zip(ids, *published.select(["leg", "y", "kind"]).to_pydict().values(), strict=True)
    ) == [(number, leg, (x or 0) * 2, kind) for number, leg, x, _, kind in kept]
    counts = manifest.rows
    assert (counts.rows_in, counts.scored, counts.quarantined) == (len(table), len(kept), len(bad))
    assert sum(counts.reasons.values()) == counts.quarantined
