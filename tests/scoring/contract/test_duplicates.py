from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.contract import duplicates as row_ids
from scoring.contract.duplicates import RowIdIndex


def candidates(hashes: list[int], rows_in_memory: int, batch: int) -> list[list[int]]:
    with closing(RowIdIndex(rows_in_memory)) as index:
        for at in range(0, len(hashes), batch):
            part = np.array(hashes[at : at + batch], dtype=np.uint64)
            index.add(part, np.arange(at + 1, at + 1 + len(part)))
        return [found.tolist() for found in index.candidates()]


def test_rows_with_a_unique_hash_are_not_candidates():
    assert candidates([3, 1, 2], rows_in_memory=10, batch=2) == []
    assert candidates([], rows_in_memory=10, batch=1) == []


@pytest.mark.parametrize("rows_in_memory", [0, 3, 1000])
def test_all_rows_of_a_repeated_hash_are_candidates_in_order(rows_in_memory: int):
    far = 1 << 63
    found = candidates([7, far + 1, 7, 5, far + 1, 7, 6], rows_in_memory, batch=2)
    assert found == [[1, 2, 3, 5, 6]]


hashes = st.lists(
    st.integers(0, 30).map(lambda n: n << 59) | st.integers(0, 2**64 - 1), max_size=60
)


@given(hashes, st.integers(0, 70), st.integers(1, 20))
def test_spilled_or_not_each_repeated_hash_is_found_in_one_piece(
    numbers: list[int], rows_in_memory: int, batch: int
):
    found = candidates(numbers, rows_in_memory, batch)
    assert sorted(row for piece in found for row in piece) == [
        row for row, number in enumerate(numbers, start=1) if numbers.count(number) > 1
    ]
    assert all(piece == sorted(piece) for piece in found)
    for number in set(numbers):
        rows = {row for row, n in enumerate(numbers, start=1) if n == number}
        assert sum(bool(rows & set(piece)) for piece in found) <= 1


def test_a_file_that_is_too_large_to_sort_is_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sizes: list[int] = []
    fromfile = np.fromfile

    def looked_at(*args: object, **more: object) -> np.ndarray:
        sizes.append(len(found := fromfile(*args, **more)))
        return found

    monkeypatch.setattr(np, "fromfile", looked_at)
    # All in one file: the first 12 bits are equal, those after them differ. One hash is there 50 times.
    numbers = [(5 << 52) + (n << 40) for n in range(1000)] + [(5 << 52) + (7 << 40)] * 49
    assert candidates(numbers, rows_in_memory=10, batch=100) == [[8, *range(1001, 1050)]]
    assert max(sizes) == 50
    assert list(tmp_path.iterdir()) == []


def test_many_candidates_come_in_several_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(row_ids, "CANDIDATES_AT_ONCE", 3)
    numbers = [bucket << 58 for bucket in range(8)] * 2
    assert candidates(numbers, rows_in_memory=0, batch=5) == [
        [1, 2, 9, 10],
        [3, 4, 11, 12],
        [5, 6, 13, 14],
        [7, 8, 15, 16],
    ]


def test_a_small_partition_touches_no_disk_and_a_large_one_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(RowIdIndex(rows_in_memory=3)) as index:
        index.add(np.arange(3, dtype=np.uint64), np.arange(3))
        assert list(tmp_path.iterdir()) == []
        index.add(np.arange(3, dtype=np.uint64), np.arange(3))
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
