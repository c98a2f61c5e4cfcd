"""Two values are the same if their bits are, in the type that is published."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.serving.parity.comparison import _is_same_in_json
from scoring.serving.parity.differences import Differences, differing

INF = math.inf
LISTS = pa.list_(pa.float64())


@pytest.mark.parametrize(
    ("kind", "published", "answered", "expected"),
    [
        (pa.float64(), [0.0, -0.0, 1.0, None, math.nan], [-0.0, -0.0, 1.0, None, math.nan], [0]),
        (pa.float64(), [None, math.nan, 0.0], [0.0, None, None], [0, 1, 2]),
        (pa.float64(), [INF, INF], [INF, -INF], [1]),
        (pa.float32(), [0.1, 0.1], [0.1, np.nextafter(np.float32(0.1), np.float32(1))], [1]),
        (pa.float16(), [np.float16(0.0)], [np.float16(-0.0)], [0]),
        (pa.int64(), [2**62, 2**62, None], [2**62, 2**62 + 1, 0], [1, 2]),
        (pa.bool_(), [True, False, None], [True, True, False], [1, 2]),
        (pa.string(), ["a", "a", "", None], ["a", "A", None, None], [1, 2]),
        (pa.timestamp("us"), [1, 1], [1, 2], [1]),
        (pa.binary(), [b"a", b"a"], [b"a", b"b"], [1]),
        (LISTS, [[0.0], [math.nan], None, [1.0]], [[-0.0], [math.nan], None, [1.0, 2.0]], [0, 3]),
        (pa.float64(), [], [], []),
    ],
)
def test_what_differs(kind: pa.DataType, published: Any, answered: Any, expected: list[int]):
    one, other = pa.array(published, kind), pa.array(answered, kind)
    assert np.flatnonzero(differing(one, other)).tolist() == expected
    assert np.flatnonzero(differing(other, one)).tolist() == expected


@given(st.lists(st.tuples(st.floats(), st.floats())))
def test_numbers_differ_where_their_bits_do(pairs: list[tuple[float, float]]):
    one, other = (pa.array([pair[side] for pair in pairs], pa.float64()) for side in (0, 1))
    expected = [a.hex() != b.hex() for a, b in pairs]
    assert differing(one, other).tolist() == expected


@pytest.mark.parametrize(
    ("kind", "published", "answered", "same"),
    [
        (pa.float32(), "0.1", "0.10000000149011612", True),
        (pa.float32(), "0.1", "0.2", False),
        (pa.float64(), "0.1", "0.10000000149011612", False),
        (pa.float64(), "5", "5.0", True),
        (pa.float64(), "nan", None, True),
        (pa.float64(), "1", None, False),
        (pa.float64(), None, "1", False),
        (pa.float64(), "inf", "Infinity", True),
        (pa.int64(), "9007199254740993", "9007199254740992", False),
        (pa.decimal128(9, 2), "1.50", "1.5", True),
        (pa.timestamp("us"), "2013-02-01 03:00:00.000000", "2013-02-01T03:00:00", True),
        (pa.timestamp("us", "UTC"), "2013-02-01 03:00:00.000000Z", "2013-02-01T03:00:00Z", True),
        (pa.timestamp("us"), "2013-02-01 03:00:00.000000", "2013-02-01T03:00:01", False),
        (pa.bool_(), "true", "True", True),
        (pa.string(), "1", "1.0", False),
        (pa.dictionary(pa.int32(), pa.string()), "a", "b", False),
        (pa.float64(), "1", "one", False),
    ],
)
def test_texts_of_a_value_that_came_by_json(
    kind: pa.DataType, published: str | None, answered: str | None, same: bool
):
    assert _is_same_in_json(published, answered, kind) is same


def test_long_values_and_control_characters_take_one_line():
    found = Differences(hidden=False)
    found.add(3, {"id": "a\nb"}, "y", "x" * 200, b"\x00\xff")
    (text,) = found.summary().splitlines()
    assert text.startswith(r"  row 3 (id=a\nb): y is published as xxxx")
    assert text.endswith("… (200 characters), answered as 00ff")
