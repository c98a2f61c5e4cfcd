"""Hashes of rows: the numbers of pandas, with the compiled part and without."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.arrow import hashing
from scoring.arrow.columns import null_mask
from scoring.arrow.hashing import hash_columns, hash_rows
from scoring.arrow.text import dictionary_encoded
from tests.compiled import needed

TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
]


def by_pandas(values: list[str] | list[bytes]) -> np.ndarray:
    return pd.util.hash_array(np.array(values, dtype=object), categorize=False)


@pytest.fixture(params=["compiled", "not compiled"])
def part(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "not compiled":
        monkeypatch.setattr(hashing, "_siphash", None)
    else:
        needed(hashing._siphash)


@given(st.lists(st.text(), min_size=1))
def test_a_text_has_the_number_of_pandas(values: list[str]):
    found = hashing._of_distinct(pa.array(values, pa.string()))
    assert found.tolist() == by_pandas(values).tolist()


@given(st.lists(st.binary(), min_size=1))
def test_bytes_have_the_number_of_pandas(values: list[bytes]):
    found = hashing._of_distinct(pa.array(values, pa.binary()))
    assert found.tolist() == by_pandas(values).tolist()


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_one_text_has_one_hash_whatever_it_is_stored_as(kind: pa.DataType):
    values = ["a", None, "", "a longer text than eight bytes", "é", "a"]
    # As they were before there was a compiled part: steps of one run may have one and not the other.
    found = hash_columns(pa.table({"id": pa.array(values, kind)}), ["id"])
    assert found.tolist() == [
        16367894626187928527, 2503978519406546485, 4238535371918706257,
        587049077909060509, 14418207569666778204, 16367894626187928527,
    ]  # fmt: skip


@pytest.mark.usefixtures("part")
def test_a_part_of_a_column_has_the_hashes_of_the_whole():
    values = pa.array([f"row {n}" if n % 7 else None for n in range(100)])
    whole = hash_rows([values])
    assert hash_rows([values.slice(13, 60)]).tolist() == whole[13:73].tolist()
    encoded = values.dictionary_encode()
    assert hash_rows([encoded.slice(13, 60)]).tolist() == whole[13:73].tolist()


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(3)], ids=str)
def test_bytes_have_one_hash_whatever_they_are_stored_as(kind: pa.DataType):
    values = [b"abc", b"\x00\xff\x00", b"abc", None]
    (same, _, again, missing) = hash_rows([pa.array(values, kind)]).tolist()
    assert same == again != missing
    assert same == hash_rows([pa.array([b"abc"], pa.binary())])[0]


@pytest.mark.usefixtures("part")
def test_a_null_of_the_dictionary_is_a_null():
    numbers = pa.array([0, 1, None, 0], pa.int32())
    column = pa.DictionaryArray.from_arrays(numbers, pa.array(["a", None]))
    plain = pa.array(["a", None, None, "a"])
    assert hash_rows([column]).tolist() == hash_rows([plain]).tolist()
    encoded = dictionary_encoded(column)
    assert null_mask(encoded).tolist() == [False, True, True, False]
    assert encoded.dictionary.to_pylist() == ["a"]


@pytest.mark.usefixtures("part")
def test_a_column_without_rows_has_no_hash():
    for kind in TEXT_TYPES:
        assert not len(hash_rows([pa.array([], kind)]))


@pytest.mark.parametrize(
    ("offsets", "data", "rows"),
    [
        ([0, 1, 9], b"abc", 2),
        ([0, -1, 2], b"abc", 2),
        ([2, 1, 3], b"abc", 2),
        ([0, 1], b"abc", 2),
        ([0, 1, 2], b"abc", 5),
    ],
)
def test_offsets_outside_of_the_data_are_refused(offsets: list[int], data: bytes, rows: int):
    compiled = needed(hashing._siphash)
    out = np.zeros(rows, dtype=np.uint64)
    with pytest.raises(ValueError, match="the offsets do not lie in the data"):
        compiled.hash_texts(np.array(offsets, np.int32), data, False, 0, hashing._KEY, out)
    with pytest.raises(ValueError, match="the offsets"):
        compiled.hash_texts(np.array(offsets, np.int32), data, False, -1, hashing._KEY, out)
    with pytest.raises(ValueError, match="the offsets"):
        compiled.hash_texts(np.array(offsets, np.int32), data, False, 2**63 - 1, hashing._KEY, out)
