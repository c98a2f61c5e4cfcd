"""The same rows, model and code give the same bytes, however the source is stored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring.pipeline import extract as extract_module
from tests.scoring.factories import (
    Place,
    in_shards_of,
    linear,
    predictions,
    quarantine,
    rows,
    run_steps,
)

JOB: dict[str, Any] = {
    "row_id": ["id", "place"],
    "output": {"keep": ["place", "kind"]},
    "checks": {"max_quarantined_fraction": 1.0, "min_rows": 0},
}

SCHEMA = pa.schema({"id": pa.int64(), "place": pa.string(), "x": pa.float64(), "kind": pa.string()})

tables = st.lists(
    st.tuples(
        st.integers(1, 9) | st.none(),
        st.sampled_from(["here", "there", "away"]),
        st.sampled_from([None, 1.0, 2.5, -7.0]),
        st.sampled_from(["a", "b", "c", "d", None]),
    ),
    max_size=40,
).map(lambda found: pa.table(list(zip(*found, strict=True)) or [[]] * 4, schema=SCHEMA))

storages = st.fixed_dictionaries(
    {
        "row_group_size": st.integers(1, 50),
        "use_dictionary": st.booleans(),
        "compression": st.sampled_from(["none", "zstd"]),
        "data_page_size": st.sampled_from([64, 1 << 20]),
        "store_schema": st.booleans(),
    }
)


def bytes_of(uri: str) -> bytes:
    return Path(uri).read_bytes()


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here, and what is written often would take twice as long."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("determinism"))
    place.model(linear())
    return place


@pytest.fixture
def dirty(empty: Place) -> Place:
    """A month of 2,500 rows of which some are quarantined for several reasons, and its model."""
    count = 2500
    table = rows(
        count,
        id=[i if i % 200 else 7 for i in range(1, count + 1)],
        x=[None if i % 90 == 0 else i / 7 for i in range(1, count + 1)],
        place=[f"place {i * i % 23}" for i in range(count)],
        kind=[None if i % 11 == 0 else f"kind {i % 5}" for i in range(count)],
    )
    empty.source(table)
    empty.model()
    return empty


def test_the_same_month_scored_twice_is_the_same_to_the_byte(dirty: Place):
    one = run_steps(dirty.run(dirty.job(**JOB)))
    predicted, rejected = bytes_of(one.output.uri), bytes_of(one.quarantine.uri)
    other = run_steps(dirty.run(dirty.job(**JOB), attempt="b"))
    assert bytes_of(other.output.uri) == predicted
    assert bytes_of(other.quarantine.uri) == rejected
    assert one.output.sha256 == hashlib.sha256(predicted).hexdigest()
    assert one.rows.quarantined > 0
    assert other.rows == one.rows
    assert other.statistics == one.statistics


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, storages, storages, st.integers(1, 20), st.integers(1, 20))
def test_how_the_source_is_stored_does_not_change_a_byte(
    folder: Place,
    monkeypatch: pytest.MonkeyPatch,
    table: pa.Table,
    one: dict[str, Any],
    other: dict[str, Any],
    shard_rows: int,
    batch_rows: int,
):
    monkeypatch.setattr(extract_module, "BATCH_ROWS", batch_rows)
    run = folder.run(in_shards_of(folder.job(**JOB), shard_rows))
    folder.source(table, **one)
    first = run_steps(run)
    predicted = bytes_of(first.output.uri)
    rejected = bytes_of(first.quarantine.uri) if first.quarantine else None
    folder.source(table, **other)
    second = run_steps(run)
    assert bytes_of(second.output.uri) == predicted
    assert (bytes_of(second.quarantine.uri) if second.quarantine else None) == rejected
    assert second.statistics == first.statistics


@pytest.mark.parametrize(
    "text",
    [
        lambda i: f"kind {i // 100}",
        lambda i: f"a long text that comes twice, so that it is not a dictionary: {i // 2}",
        lambda i: f"few {i % 7}" if i < 1500 else f"a long text of its own, {i}",
    ],
    ids=["few values", "many values", "few, then many"],
)
def test_texts_that_come_later_or_not_as_a_dictionary_do_not_change_a_byte(
    empty: Place, text: Callable[[int], str]
):
    count = 3000
    table = rows(count, kind=[text(i) for i in range(count)])
    empty.model()
    run = empty.run(empty.job(output={"keep": ["kind"]}))
    found = set()
    for storage in (
        {},
        {"row_group_size": 130},
        {"use_dictionary": False},
        {"use_dictionary": False, "row_group_size": 1400, "compression": "none"},
    ):
        empty.source(table, **storage)
        found.add(bytes_of(run_steps(run).output.uri))
    empty.source(table.set_column(2, "kind", table.column("kind").cast(pa.large_string())))
    found.add(bytes_of(run_steps(run).output.uri))
    assert len(found) == 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, st.integers(1, 50), st.integers(1, 50))
def test_the_size_of_shards_changes_neither_rows_nor_counts(
    folder: Place, table: pa.Table, one: int, other: int
):
    folder.source(table)
    first = run_steps(folder.run(in_shards_of(folder.job(**JOB), one)))
    predicted = predictions(first).to_pylist()
    rejected = quarantine(first).sort_by("row").to_pylist() if first.quarantine else []
    second = run_steps(folder.run(in_shards_of(folder.job(**JOB), other)))
    assert predictions(second).to_pylist() == predicted
    assert (quarantine(second).sort_by("row").to_pylist() if second.quarantine else []) == rejected
    assert second.rows == first.rows
    assert len(predicted) + len(rejected) == table.num_rows
