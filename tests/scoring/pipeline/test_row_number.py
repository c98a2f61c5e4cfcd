"""Rows without a key: the place in the source identifies them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scoring.errors import JobError
from scoring.pipeline.verify import verify_partition
from tests.scoring.factories import (
    Place,
    in_shards_of,
    predictions,
    quarantine,
    rows,
    run_steps,
)


def table(count: int, first: int = 1) -> pa.Table:
    """Rows that do not differ, but for every third one, which has no x."""
    x = [None if n % 3 == 0 else 5.0 for n in range(first, first + count)]
    return pa.table({"x": pa.array(x, pa.float64())})


def test_the_place_in_the_source_and_the_file_are_published(empty: Place):
    empty.source(table(5), "2013-02/a.parquet")
    empty.source(table(4, first=6), "2013-02/b.parquet")
    empty.model()
    source = {"uri": "{data}/source/{partition}/*.parquet"}
    run = empty.run(empty.job(row_id="row_number", source=source))
    manifest = run_steps(run)
    found = predictions(manifest)
    assert found.column_names == ["row", "file", "y", "model_version", "partition"]
    assert found["row"].to_pylist() == [1, 2, 4, 5, 7, 8]
    assert found["file"].to_pylist() == ["a.parquet"] * 4 + ["b.parquet"] * 2
    assert set(found["y"].to_pylist()) == {10.0}
    broken = quarantine(manifest)
    assert broken.column_names == ["file", "row", "reason", "column", "value", "partition"]
    assert broken["row"].to_pylist() == [3, 6, 9]
    verify_partition(run)


def test_each_row_keeps_its_number_in_any_shard(empty: Place):
    x = np.arange(2_500) * 1.0
    empty.source(pa.table({"x": x}), row_group_size=300)
    empty.model()
    job = empty.job(row_id="row_number")
    for shard_rows in (70, 1_000):
        found = predictions(run_steps(empty.run(in_shards_of(job, shard_rows))))
        assert found["row"].to_pylist() == list(range(1, 2_501))
        assert found["y"].to_pylist() == pytest.approx(list(2 * x))


def test_a_csv_file_has_numbers_too(empty: Place):
    empty.csv("x\n1.5\n2.5\n")
    empty.model()
    source = {"uri": "{data}/source/{partition}.csv"}
    found = predictions(run_steps(empty.run(empty.job(row_id="row_number", source=source))))
    assert found["row"].to_pylist() == [1, 2]
    assert found["file"].to_pylist() == ["2013-02.csv"] * 2


@pytest.mark.parametrize("name", ["row", "file", "File"])
def test_a_column_of_that_name_needs_another_one(empty: Place, name: str):
    message = f"{name!r} is a column that row_id: row_number adds; rename it"
    inputs = {"x": {"type": "float64"}, name: {"type": "string"}}
    with pytest.raises(JobError, match=message):
        empty.job(row_id="row_number", inputs=inputs)
    with pytest.raises(JobError, match=message):
        empty.job(row_id="row_number", output={"keep": [name]})
    # Such as by an expression:
    empty.source(rows(2, **{name: ["u", "v"]}))
    empty.model()
    job = empty.job(
        row_id="row_number",
        source={"derive": {"other": f'"{name}"'}},
        output={"keep": ["other"]},
    )
    assert predictions(run_steps(empty.run(job)))["other"].to_pylist() == ["u", "v"]
