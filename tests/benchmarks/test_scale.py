"""docs/scale.md says what its figures give, and its plans keep to the limits of Airflow and S3."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.configuration import conf

from benchmarks import scale
from scoring.contract.duplicates import FILE_TIMES, ROWS_IN_MEMORY, RowIdIndex
from scoring.storage.s3.writer import PART_BYTES, part_bytes

MEASURED: dict[str, Any] = json.loads(scale.FIGURES.read_text(encoding="utf-8"))


def test_the_page_has_the_tables_of_the_figures() -> None:
    page = scale.PAGE.read_text(encoding="utf-8")
    assert scale.fill(page, scale.tables(MEASURED)) == page


def test_prices_change_what_it_costs_alone() -> None:
    default = scale.tables(MEASURED)
    dear = scale.tables(MEASURED, scale.Prices(cpu_hour=1.5, gb_month=2))
    assert [name for name in default if dear[name] != default[name]] == ["cost"]
    assert "1.5 USD" in dear["cost"]


def test_airflow_has_the_limit_that_is_planned_with() -> None:
    assert conf.get_default_value("core", "max_map_length") == str(scale.MAX_MAP_LENGTH)


@pytest.mark.parametrize("rows", [1_000, 3_000_000, 512_000_001, *scale.PLANNED])
def test_a_plan_keeps_to_the_limits(rows: int) -> None:
    plan = scale.plan(MEASURED, rows)
    assert plan.shards <= scale.MOST_SHARDS
    assert (plan.shards - 1) * plan.shard_rows < rows <= plan.shards * plan.shard_rows
    assert len(plan.parts) <= scale.S3_PARTS
    assert max(plan.parts) <= scale.S3_PART_BYTES
    assert sum(plan.parts) <= scale.S3_OBJECT_BYTES


@pytest.mark.parametrize(
    ("rows", "shard_rows"),
    [
        (1_000, 1_000_000),
        (512_000_000, 1_000_000),
        (512_000_001, 2_000_000),
        (1_024_000_001, 5_000_000),
        (10_000_000_000, 20_000_000),
    ],
)
def test_shards_are_as_small_as_the_limit_allows(rows: int, shard_rows: int) -> None:
    assert scale.recommended_shard_rows(rows) == shard_rows


def test_parts_are_those_that_the_writer_sends() -> None:
    assert scale.parts(1) == (1,)
    assert scale.parts(PART_BYTES + 1) == (PART_BYTES, 1)
    grown = scale.parts(1_000 * PART_BYTES + 1)
    assert len(grown) == 1_001
    full = scale.parts(scale.LARGEST_UPLOAD)
    assert (len(full), full[-1]) == (scale.S3_PARTS, part_bytes(scale.S3_PARTS - 1))
    with pytest.raises(ValueError, match="more than 10,000 parts"):
        scale.parts(scale.LARGEST_UPLOAD + 1)


def test_row_ids_are_divided_as_the_index_divides_them() -> None:
    most = ROWS_IN_MEMORY * FILE_TIMES
    assert scale.index_files(ROWS_IN_MEMORY) == 0
    assert scale.index_files(64 * most) == 64
    assert scale.index_files(64 * most + 1) == 64 * 64
    assert RowIdIndex()._limit == ROWS_IN_MEMORY


def test_what_breaks_is_in_order_of_rows() -> None:
    found = scale.limits(MEASURED)
    assert [rows for rows, _, _ in found] == sorted(rows for rows, _, _ in found)
    (refused,) = [rows for rows, what, _ in found if "shards" in what]
    assert refused == scale.MAX_MAP_LENGTH * scale.SHARD_ROWS
    (full,) = [rows for rows, what, _ in found if "parts of an upload" in what]
    assert len(scale.plan(MEASURED, full).parts) == scale.S3_PARTS
    with pytest.raises(ValueError, match="parts"):
        scale.plan(MEASURED, full + full // 1_000)


def test_times_grow_with_the_rows_and_fall_with_the_workers() -> None:
    small, large = (scale.plan(MEASURED, rows) for rows in scale.PLANNED[:2])
    assert large.seconds["extract"] == pytest.approx(10 * small.seconds["extract"])
    few, more, many = (large.score_seconds[workers] for workers in scale.WORKERS)
    assert few > more > many
    assert few == pytest.approx(10 * more)  # 500 shards: 250 one after the other, or 25


def test_a_page_without_a_part_is_refused() -> None:
    with pytest.raises(ValueError, match="0 parts named plan"):
        scale.fill("# Scale\n", {"plan": ""})
