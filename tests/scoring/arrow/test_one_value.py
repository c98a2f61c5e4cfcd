"""Where a value can be written in several ways, it is one value."""

from __future__ import annotations

import decimal
import math
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.arrow.cast import ColumnCast
from scoring.arrow.hashing import hash_rows
from scoring.job.inputs import ColumnConfig

UTC = ZoneInfo("UTC")


def cast(
    values: pa.Array, text_only: bool = False, exact: bool = False, **column: Any
) -> tuple[list[Any], list[bool]]:
    config = ColumnConfig.model_validate(column)
    found, unfit = ColumnCast(config, UTC, text_only, exact)(values)
    return found.to_pylist(), unfit.tolist()


@given(st.lists(st.decimals(-(10**9), 10**9, places=6), min_size=1, max_size=8))
def test_a_decimal_is_the_nearest_double_stored_or_in_text(numbers: list[decimal.Decimal]):
    nearest = [float(number) for number in numbers]
    stored = pa.array(numbers, pa.decimal128(20, 6))
    assert cast(stored, type="float64")[0] == nearest
    assert cast(stored.cast(pa.decimal256(60, 10)), type="float64")[0] == nearest
    assert cast(pa.array(map(str, numbers)), text_only=True, type="float64")[0] == nearest


@pytest.mark.parametrize(
    ("values", "text_only"),
    [
        (pa.array([-0.0, 0.0]), False),
        (pa.array([-0.0, 0.0], pa.float32()), False),
        (pa.array(["-0", "0.0"]), True),
        (pa.array([decimal.Decimal("-0.0"), decimal.Decimal("0.0")]), False),
    ],
)
def test_zero_has_no_sign(values: pa.Array, text_only: bool):
    found, _ = cast(values, text_only, type="float64")
    assert [math.copysign(1, number) for number in found] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "text_only"),
    [
        (pa.array([2**53, 2**53 + 1, None, -(2**53) - 1, 2**63 - 1]), False),
        (pa.array(["9007199254740992", "9007199254740993", None, "-9007199254740993", str(2**63 - 1)]), True),
    ],
)  # fmt: skip
def test_a_nullable_integer_that_no_float_is_does_not_fit(values: pa.Array, text_only: bool):
    found, unfit = cast(values, text_only, type="int64", nullable=True)
    assert unfit == [False, True, False, True, True]
    assert found == [2**53, None, None, None, None]
    assert not any(cast(values, text_only, type="int64")[1])


@pytest.mark.parametrize(
    ("values", "text_only"),
    [(pa.array([7, 2**53 + 1]), False), (pa.array(["7.5", "9007199254740993"]), True)],
)
def test_a_row_id_is_never_rounded(values: pa.Array, text_only: bool):
    assert cast(values, text_only, exact=True, type="float64")[1] == [False, True]
    assert cast(values, text_only, exact=False, type="float64")[1] == [False, False]


def test_bytes_are_hashed_as_bytes_whatever_their_neighbours():
    ids = [b"ab", b"\xff\x01", b"cd", b"ab"]
    alone = [int(hash_rows([pa.array([i])])[0]) for i in ids]
    assert hash_rows([pa.array(ids)]).tolist() == alone
    assert hash_rows([pa.array(ids, pa.large_binary())]).tolist() == alone
    assert hash_rows([pa.array([b"ab", b"cd"], pa.binary(2))]).tolist() == [alone[0], alone[2]]
    assert len(set(alone)) == 3


def test_numbers_that_are_stored_as_a_dictionary_are_numbers():
    values = pa.array([1.0, None, 2.0]).dictionary_encode()
    assert cast(values, type="int64") == ([1, None, 2], [False] * 3)
