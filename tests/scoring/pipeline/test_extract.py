from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scoring.arrow import hashing
from scoring.contract.duplicates import RowIdIndex
from scoring.errors import ContractError, PublicationError, SourceError, SourceMissingError
from scoring.job.columns import ROW
from scoring.pipeline import extract as extract_module
from scoring.pipeline.extract import extract
from scoring.pipeline.handover import Extraction, load_extraction
from scoring.pipeline.staging import Staged, read_staged
from scoring.storage.local import LocalStorage
from tests.scoring.factories import Place, extracted, in_shards_of, rows

ALL_FILES = {"source": {"uri": "{data}/source/*.parquet"}}


def staged(shard: Staged) -> list[dict[str, Any]]:
    return [row for table in read_staged(shard, LocalStorage()) for row in table.to_pylist()]


def staged_ids(extraction: Extraction) -> list[list[Any]]:
    return [[row["id"] for row in staged(shard)] for shard in extraction.shards]


def set_aside(extraction: Extraction) -> list[tuple[Any, ...]]:
    """Row, reason, column and value of each quarantined row, by row."""
    found = staged(extraction.quarantine) if extraction.quarantine else []
    return sorted((r["row"], r["reason"], r["column"], r["value"]) for r in found)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract_module, "BATCH_ROWS", 3)


def test_the_rows_are_staged_in_shards_with_their_numbers(place: Place, small_batches: None):
    run = place.run(in_shards_of(place.job(), 4))
    extraction = extracted(run)
    assert [(s.number, s.rows) for s in extraction.shards] == [(0, 4), (1, 4), (2, 2)]
    assert [row for shard in extraction.shards for row in staged(shard)] == [
        {"id": i, "x": float(i), ROW: i} for i in range(1, 11)
    ]
    assert extraction.rows_in == 10
    assert extraction.quarantined == {}
    assert extraction.quarantine is None
    assert load_extraction(run) == extraction


def test_the_source_is_recorded(place: Place):
    path = place.source(rows(10))
    record = extracted(place.run()).source
    assert (record.uri, record.rows, record.bytes) == (str(path), 10, path.stat().st_size)
    assert [(f.uri, f.bytes) for f in record.files] == [(str(path), path.stat().st_size)]


def test_bad_rows_are_quarantined_with_what_stood_there(empty: Place, small_batches: None):
    empty.model()
    xs = [1.0, None, float("inf"), 4.0, -1.0]
    empty.source(pa.table({"id": ["a", "b", "c", None, "e"], "x": xs}))
    run = empty.run(in_shards_of(empty.job(inputs={"x": {"type": "float64", "min": 0}}), 2))
    extraction = extracted(run)
    assert staged_ids(extraction) == [["a"], [], []]
    assert set_aside(extraction) == [
        (2, "missing_value", "x", None),
        (3, "infinite", "x", "inf"),
        (4, "null_row_id", "id", None),
        (5, "below_min", "x", "-1"),
    ]
    assert extraction.rows_in == 5
    assert extraction.quarantined["below_min: x"] == 1
    assert extraction.examples["below_min: x"] == ["row 5 (id=e, x=-1)"]


def test_what_a_csv_said_is_what_the_quarantine_shows(empty: Place):
    empty.model()
    empty.csv("id,x\n1,0.10\n2,0.1O\n")
    run = empty.run(empty.job(source={"uri": "{data}/source/{partition}.csv"}))
    assert set_aside(extracted(run)) == [(2, "wrong_type", "x", "0.1O")]


DUPLICATES = [5, 1, 5, 2, 3, 1, 5, 4, 5, 6, 6]


@pytest.mark.parametrize("shard_rows", [2, 4, 1000])
@pytest.mark.parametrize("rows_in_memory", [1, 1000])
@pytest.mark.parametrize("candidates_at_once", [1, 1000])
def test_only_the_first_row_of_an_id_is_kept_across_batches_and_shards(
    empty: Place, small_batches: None, monkeypatch: pytest.MonkeyPatch,
    shard_rows: int, rows_in_memory: int, candidates_at_once: int,
):  # fmt: skip
    monkeypatch.setattr(extract_module, "RowIdIndex", lambda: RowIdIndex(rows_in_memory))
    monkeypatch.setattr("scoring.contract.duplicates.CANDIDATES_AT_ONCE", candidates_at_once)
    empty.model()
    empty.source(pa.table({"id": DUPLICATES, "x": [1.0] * len(DUPLICATES)}))
    extraction = extracted(empty.run(in_shards_of(empty.job(), shard_rows)))
    kept = [row[ROW] for shard in extraction.shards for row in staged(shard)]
    assert kept == [1, 2, 4, 5, 8, 10]
    assert set_aside(extraction) == [
        (row, "duplicate_row_id", None, None) for row in (3, 6, 7, 9, 11)
    ]
    assert extraction.quarantined == {"duplicate_row_id": 5}
    assert [s.rows for s in extraction.shards] == [len(staged(s)) for s in extraction.shards]


def test_with_far_too_many_repeats_no_further_ones_are_looked_for(
    empty: Place, small_batches: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(extract_module, "RowIdIndex", lambda: RowIdIndex(1))
    monkeypatch.setattr("scoring.contract.duplicates.CANDIDATES_AT_ONCE", 1)
    empty.model()
    empty.source(rows(100, id=[i % 50 for i in range(100)]))
    job = empty.job(checks={"max_quarantined_fraction": 0.005})
    with pytest.raises(ContractError, match=r"at least [1-9] of 100 rows .* break the contract"):
        extracted(empty.run(job))


def test_rows_with_the_same_hash_and_other_ids_are_not_duplicates(
    empty: Place, small_batches: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hashing, "hash_rows", lambda arrays: np.zeros(len(arrays[0]), np.uint64))
    empty.model()
    ids = [*map(str, range(8)), "3", "8"]
    empty.source(pa.table({"id": ids, "x": [1.0] * 10}))
    extraction = extracted(empty.run(in_shards_of(empty.job(), 4)))
    assert [i for shard in staged_ids(extraction) for i in shard] == list("012345678")
    assert set_aside(extraction) == [(9, "duplicate_row_id", None, None)]


def test_an_id_is_a_duplicate_only_if_all_its_columns_are(empty: Place):
    empty.model()
    table = pa.table({"id": [1, 1, 2, 1], "leg": ["a", "b", "a", "a"], "x": [1.0] * 4})
    empty.source(table)
    assert set_aside(extracted(empty.run(empty.job(row_id=["id", "leg"])))) == [
        (4, "duplicate_row_id", None, None)
    ]


def test_a_bad_row_does_not_make_a_duplicate_of_a_good_one(empty: Place):
    empty.model()
    empty.source(pa.table({"id": [1, 1, 1], "x": [None, 1.0, None]}))
    extraction = extracted(empty.run())
    assert staged_ids(extraction) == [[1]]
    assert [reason for _, reason, *_ in set_aside(extraction)] == ["missing_value"] * 2


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["a", "b", "a"]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([2**64 - 1, 7, 2**64 - 1], pa.uint64()),
        pa.array([0.5, 1.5, 0.5]),
        pa.array([True, False, True]),
        pa.array([b"\x00\xff", b"a", b"\x00\xff"]),
        pa.array([uuid.UUID(int=i).bytes for i in (1, 2, 1)], pa.binary(16)),
        pa.array([datetime(2013, 2, d, tzinfo=UTC) for d in (1, 2, 1)], pa.timestamp("ns", "UTC")),
        pa.array([1, 2, 1], pa.date32()),
        pa.array([1, 2, 1], pa.decimal128(9, 2)),
    ],
    ids=lambda ids: str(ids.type),
)
def test_row_ids_of_any_type_are_compared(empty: Place, ids: pa.Array):
    empty.model()
    empty.source(pa.table({"id": ids, "x": [1.0, 2.0, 3.0]}))
    extraction = extracted(empty.run())
    assert set_aside(extraction) == [(3, "duplicate_row_id", None, None)]
    assert [row["x"] for row in staged(extraction.shards[0])] == [1.0, 2.0]


def test_shards_are_handed_on_as_soon_as_they_are_staged(place: Place, small_batches: None):
    run = place.run(in_shards_of(place.job(), 4))
    events: list[Any] = []
    extract(
        run,
        run.model_file(),
        lambda shard: events.append(staged(shard)[0]["id"]),
        lambda done, total: events.append((done, total)),
    )
    assert events == [(3, 10), (1, 10), 1, (3, 10), (1, 10), 5, (2, 10), 9]


def test_the_key_sum_is_that_of_the_staged_ids(empty: Place, small_batches: None):
    empty.model()
    empty.source(pa.table({"id": [1, 2, 2, 3], "x": [1.0, 2.0, 2.0, None]}))
    with_repeats = extracted(empty.run(attempt="a")).key_sum
    empty.source(pa.table({"id": [2, 1], "x": [0.0, 0.0]}))
    assert extracted(empty.run(attempt="b")).key_sum == with_repeats
    empty.source(pa.table({"id": [2, 2], "x": [0.0, 0.0]}))
    assert extracted(empty.run(attempt="c")).key_sum != with_repeats


def test_a_source_without_rows_is_one_empty_shard(empty: Place):
    empty.model()
    empty.source(pa.table({"id": pa.array([], pa.int64()), "x": pa.array([], pa.float64())}))
    extraction = extracted(empty.run(empty.job(checks={"min_rows": 0})))
    assert [(s.number, s.rows) for s in extraction.shards] == [(0, 0)]
    with pytest.raises(ContractError, match=r"0 rows came in, fewer than checks.min_rows, 1"):
        extracted(empty.run())


def test_too_many_bad_rows_stop_the_run_with_examples(empty: Place):
    empty.model()
    empty.source(pa.table({"id": range(100), "x": [None] * 6 + [1.0] * 94}))
    with pytest.raises(ContractError) as error:
        extracted(empty.run(empty.job(checks={"max_quarantined_fraction": 0.05})))
    assert "sample 2013-02: 6 of 100 rows (6.00%) break the contract" in str(error.value)
    assert "missing_value: x: 6 rows, for example row 1 (id=0, x=None); row 2" in str(error.value)


def test_a_missing_source_is_an_error_of_its_own(empty: Place):
    empty.model()
    with pytest.raises(SourceMissingError):
        extracted(empty.run())


def test_a_second_attempt_starts_over(place: Place):
    run = place.run(in_shards_of(place.job(), 4))
    extracted(run)
    place.source(rows(3))
    assert [s.rows for s in extracted(run).shards] == [3]
    assert not any("rows-00001" in name for name in place.files())


@pytest.mark.parametrize("batch_rows", [2, 3])  # batches that end with a file, and that do not
@pytest.mark.parametrize(
    ("one", "other", "disagree"),
    [
        (pa.array([1, 2], pa.int32()), pa.array([3, 4], pa.int64()), False),
        (pa.array(["1", "2"]), pa.array(["3", "4"]).dictionary_encode(), False),
        (pa.array([1, 2], pa.timestamp("us")), pa.array([3, 4], pa.timestamp("s")), False),
        (pa.array(["1", "2"]), pa.array([3, 4]), True),
        (pa.array([1, 2], pa.timestamp("s")), pa.array([3, 4], pa.timestamp("s", "UTC")), True),
        (pa.array([1, 2], pa.timestamp("s", "UTC")), pa.array([3, 4], pa.timestamp("s")), True),
    ],
)
def test_files_may_differ_in_how_they_store_an_id_but_not_in_what_it_is(
    empty: Place, monkeypatch: pytest.MonkeyPatch, batch_rows: int,
    one: pa.Array, other: pa.Array, disagree: bool,
):  # fmt: skip
    monkeypatch.setattr(extract_module, "BATCH_ROWS", batch_rows)
    empty.model()
    empty.source(pa.table({"id": one, "x": [1.0, 2.0]}), "1.parquet")
    empty.source(pa.table({"id": other, "x": [3.0, 4.0]}), "2.parquet")
    run = empty.run(empty.job(**ALL_FILES))
    if disagree:
        with pytest.raises(
            SourceError, match=r"source/\*\.parquet: the column .id. comes in different"
        ):
            extracted(run)
    else:
        assert staged_ids(extracted(run)) == [[*one.to_pylist(), *other.to_pylist()]]


@pytest.mark.parametrize("batch_rows", [2, 3])
def test_inputs_of_several_files_come_in_the_type_of_the_contract(
    empty: Place, monkeypatch: pytest.MonkeyPatch, batch_rows: int
):
    monkeypatch.setattr(extract_module, "BATCH_ROWS", batch_rows)
    empty.model()
    empty.source(pa.table({"id": [1, 2], "x": pa.array([1, 2], pa.int8())}), "1.parquet")
    empty.source(pa.table({"id": [3, 4], "x": pa.array([3, 4], pa.float32())}), "2.parquet")
    empty.source(pa.table({"id": [5, 6], "x": pa.nulls(2)}), "3.parquet")
    extraction = extracted(empty.run(empty.job(**ALL_FILES)))
    (table,) = (
        pa.concat_tables(read_staged(extraction.shards[0], LocalStorage()))
        .select(["x"])
        .to_batches()[:1]
    )
    assert table.schema.field("x").type == pa.float64()
    assert [row["x"] for row in staged(extraction.shards[0])] == [1.0, 2.0, 3.0, 4.0]
    assert [row for row, *_ in set_aside(extraction)] == [5, 6]


def test_a_batch_of_a_csv_may_lack_all_moments(empty: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extract_module, "BATCH_ROWS", 2)
    empty.model()
    empty.csv("id,x,seen\n1,1,2013-02-01T00:00Z\n2,2,\n3,3,\n4,4,\n5,5,2013-02-02T00:00Z\n")
    inputs = {"x": {"type": "float64"}, "seen": {"type": "timestamp", "nullable": True}}
    run = empty.run(empty.job(source={"uri": "{data}/source/{partition}.csv"}, inputs=inputs))
    seen = [row["seen"] for row in staged(extracted(run).shards[0])]
    first, second = (datetime(2013, 2, day, tzinfo=UTC) for day in (1, 2))
    assert seen == [first, None, None, None, second]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda run: None, "extraction.json is not there; run the whole partition again"),
        (extracted, "sample.yaml has changed since 2013-02 was extracted"),
    ],
)
def test_an_extraction_that_is_gone_or_of_another_job_file_is_not_used(
    place: Place, spoil: Callable[[Any], Any], expected: str
):
    run = place.run()
    spoil(run)
    changed = replace(run, job_file=place.job(description="changed"))
    with pytest.raises(PublicationError, match=expected):
        load_extraction(changed)


def test_a_source_that_is_not_there_leaves_nothing_at_the_destination(empty: Place):
    empty.model()
    run = empty.run()
    with pytest.raises(SourceMissingError):
        extracted(run)
    assert not empty.out.exists()
