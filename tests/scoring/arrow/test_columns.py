from __future__ import annotations

import decimal
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.arrow.cast import ColumnCast, NotCastableError
from scoring.arrow.columns import null_mask
from scoring.arrow.hashing import hash_rows
from scoring.arrow.text import as_text, decoded, dictionary_encoded, is_text
from scoring.job.inputs import ColumnConfig

DICTIONARY = pa.dictionary(pa.int8(), pa.large_string())


def cast(values: pa.Array, column: ColumnConfig, text_only: bool) -> tuple[pa.Array, Any]:
    return ColumnCast(column, ZoneInfo("UTC"), text_only)(values)


def typed(values: pa.Array, kind: str, text_only: bool = False) -> tuple[list[Any], list[bool]]:
    """The values that ``cast`` gives, and which of them do not fit."""
    array, unfit = cast(values, ColumnConfig(type=kind), text_only)
    return array.to_pylist(), unfit.tolist()


def fitting(values: pa.Array, kind: str, text_only: bool = False) -> list[Any]:
    found, unfit = typed(values, kind, text_only)
    assert not any(unfit)
    return found


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (pa.int8(), "int16"),
        (pa.int8(), "int64"),
        (pa.uint8(), "int16"),
        (pa.uint32(), "int64"),
        (pa.int32(), "float64"),
        (pa.float32(), "float64"),
        (pa.float16(), "float32"),
        (pa.int8(), "float32"),
    ],
)
def test_widening_keeps_every_value(stored: pa.DataType, kind: str):
    assert fitting(pa.array([1, None, 100], pa.int8()).cast(stored, safe=False), kind) == [
        1,
        None,
        100,
    ]


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
    [
        (pa.array([127, 128, -128, -129, None]), "int8", [127, None, -128, None, None]),
        (pa.array([2**31, 7], pa.int64()), "int32", [None, 7]),
        (pa.array([2**63, 2**64 - 1, 5], pa.uint64()), "int64", [None, None, 5]),
        (pa.array([-1, 2**31 - 1], pa.int64()), "int32", [-1, 2**31 - 1]),
        (pa.array([1.0, 2.5, None, -0.0]), "int64", [1, None, None, 0]),
        (pa.array([2.0**62, 2.0**63, -(2.0**63), 1e300]), "int64", [2**62, None, -(2**63), None]),
        (pa.array([float("inf"), float("-inf"), 3.0]), "int64", [None, None, 3]),
        (pa.array([300.0, 44.0]), "int8", [None, 44]),
    ],
)
def test_a_narrowing_is_judged_value_by_value(values: pa.Array, kind: str, kept: list[Any]):
    found, unfit = typed(values, kind)
    assert found == kept
    expected = zip(values.to_pylist(), kept, strict=True)
    assert unfit == [was is not None and now is None for was, now in expected]


def test_a_nullable_integer_that_comes_as_a_float_is_an_integer_with_nulls():
    assert typed(pa.array([1.0, float("nan"), None, 4.0]), "int64") == (
        [1, None, None, 4],
        [False, False, False, False],
    )


def test_a_large_integer_becomes_the_nearest_float():
    assert fitting(pa.array([2**53 + 1]), "float64") == [float(2**53 + 1)]
    assert fitting(pa.array([0.1]), "float32") == [float(np.float32(0.1))]


def test_decimals_are_numbers():
    values = pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00"), None])
    assert fitting(values, "float64") == [1.5, 2.0, None]
    assert typed(values, "int64") == ([None, 2, None], [True, False, False])


@pytest.mark.parametrize(
    "stored",
    [pa.decimal64(18, 0), pa.decimal128(20, 0), pa.decimal128(38, 2), pa.decimal256(50, 3)],
    ids=str,
)
def test_decimals_become_integers_digit_for_digit(stored: pa.DataType):
    above_doubles = 2**53 + 1
    values = pa.array([decimal.Decimal(above_doubles), None, decimal.Decimal(-7)], stored)
    assert fitting(values, "int64") == [above_doubles, None, -7]


@pytest.mark.parametrize("stored", [pa.decimal32(9, 2), pa.decimal128(38, 2)], ids=str)
def test_a_decimal_that_is_not_such_an_integer_is_unfit_and_the_others_stay(stored: pa.DataType):
    numbers = ["300", "-128", "127", "128", "1.50", None]
    values = pa.array([n and decimal.Decimal(n) for n in numbers], stored)
    assert typed(values, "int8") == (
        [None, -128, 127, None, None, None],
        [True, False, False, True, True, False],
    )


def test_a_decimal_beyond_the_largest_integer_is_unfit():
    values = pa.array([decimal.Decimal(2**63), decimal.Decimal(2**63 - 1)], pa.decimal128(20, 0))
    assert typed(values, "int64") == ([None, 2**63 - 1], [True, False])


@pytest.mark.parametrize("stored", [pa.string(), pa.large_string(), pa.string_view(), DICTIONARY])
def test_text_is_text_however_it_is_stored(stored: pa.DataType):
    values = pa.array(["a", None, "b"]).cast(stored)
    assert is_text(values.type)
    assert decoded(
        dictionary_encoded(cast(values, ColumnConfig(type="string"), False)[0])
    ).to_pylist() == [
        "a",
        None,
        "b",
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array(["1"]), "int64"),
        (pa.array(["1"]).dictionary_encode(), "float64"),
        (pa.array(["2013-05-07"]), "date"),
        (pa.array(["2013-05-07"]), "timestamp"),
        (pa.array([1]), "string"),
        (pa.array([1]), "boolean"),
        (pa.array([True]), "int64"),
        (pa.array([1]), "timestamp"),
        (pa.array([1]), "date"),
        (pa.array([datetime(2013, 5, 7, tzinfo=UTC)]), "date"),
        (pa.array([date(2013, 5, 7)]), "int64"),
        (pa.array([[1]]), "int64"),
        (pa.array([b"a"]), "string"),
    ],
)
def test_another_kind_of_thing_is_not_a_value_of_the_type(values: pa.Array, kind: str):
    with pytest.raises(NotCastableError):
        cast(values, ColumnConfig(type=kind), text_only=False)


@pytest.mark.parametrize("kind", ["string", "int8", "float64", "boolean", "timestamp", "date"])
def test_a_column_without_any_value_fits_every_type(kind: str):
    assert fitting(pa.nulls(2), kind) == [None, None]


def test_moments_keep_their_zone_and_dates_are_moments():
    aware = pa.array([datetime(2013, 5, 7, 12, tzinfo=UTC)], pa.timestamp("ns", "America/New_York"))
    assert cast(aware, ColumnConfig(type="timestamp"), False)[0].type == pa.timestamp(
        "ns", "America/New_York"
    )
    naive = pa.array([date(2013, 5, 7)])
    assert fitting(naive, "timestamp") == [datetime(2013, 5, 7)]  # noqa: DTZ001
    assert fitting(naive, "date") == [date(2013, 5, 7)]


@pytest.mark.parametrize(
    ("kind", "texts", "values"),
    [
        ("string", ["a", "", None], ["a", "", None]),
        ("int64", ["1", " -2 ", "+3", "007", "4.0", "1e3", None], [1, -2, 3, 7, 4, 1000, None]),
        ("int64", ["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        ("int64", ["1234567890123456789", "1000000000000000001"], [1234567890123456789, 10**18 + 1]),
        ("int64", ["0" * 30 + "1234567890123456789", "0" * 50 + "7"], [1234567890123456789, 7]),
        ("int8", ["127", "-128"], [127, -128]),
        ("float64", ["9007199254740993", "18446744073709551616"], [9007199254740992, 2.0**64]),
        ("float64", ["1", "-2.5", " 3e2 ", ".5", "inf", None], [1, -2.5, 300, 0.5, float("inf"), None]),
        ("float32", ["0.5"], [0.5]),
        ("boolean", ["true", "FALSE", " True ", "1", "0", None], [True, False, True, True, False, None]),
        ("date", ["2013-05-07", None], [date(2013, 5, 7), None]),
    ],
)  # fmt: skip
def test_text_of_a_csv_is_parsed(kind: str, texts: list[str | None], values: list[Any]):
    assert fitting(pa.array(texts, pa.string()), kind, text_only=True) == values


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int64", "one"), ("int64", "1.5"), ("int64", "1,000"), ("int64", "inf"), ("int64", "NAN"),
        ("int64", "9223372036854775808"), ("int64", "99999999999999999999"), ("int64", "True"),
        ("int64", "1 2"), ("int64", "0x10"), ("int64", ""), ("int64", "2013-05-07"),
        ("int8", "128"), ("int8", "1e3"),
        ("float64", "1,5"), ("float64", "much"), ("float64", ""), ("float64", "nan"),
        ("float64", "1_000"),
        ("boolean", "yes"), ("boolean", "2"), ("boolean", ""),
        ("date", "2013-05-07 12:00"), ("date", "2013-05-07T00:00Z"), ("timestamp", "today"),
        ("timestamp", "now"), ("timestamp", "2013"), ("timestamp", "2013-05"), ("float64", "nan(1)"),
        ("date", "07.05.2013"), ("date", "2013-02-30"), ("date", "x"),
        ("timestamp", "noon"), ("timestamp", "2013-13-01"), ("timestamp", ""),
    ],
)  # fmt: skip
def test_text_that_is_not_such_a_value_does_not_fit_and_its_neighbours_do(kind: str, text: str):
    good = {"boolean": "1", "date": "2013-05-07", "timestamp": "2013-05-07"}.get(kind, "1")
    found, unfit = typed(pa.array([good, text, None, good]), kind, text_only=True)
    assert unfit == [False, True, False, False]
    assert found[1:3] == [None, None]
    assert found[0] == found[3] is not None


@given(st.lists(st.integers(-(2**70), 2**70) | st.integers(-300, 300), min_size=1, max_size=8))
def test_an_integer_in_text_is_read_exactly_or_not_at_all(numbers: list[int]):
    found, unfit = typed(pa.array([str(n) for n in numbers]), "int64", text_only=True)
    in_range = [-(2**63) <= n < 2**63 for n in numbers]
    assert unfit == [not fits for fits in in_range]
    assert found == [n if fits else None for n, fits in zip(numbers, in_range, strict=True)]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=8))
def test_a_float_in_text_is_read_exactly(numbers: list[float]):
    assert fitting(pa.array([repr(n) for n in numbers]), "float64", text_only=True) == numbers


NEW_YEAR = datetime(2013, 1, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2013-01-01T05:00:00Z",
        "2013-01-01 05:00:00+00:00",
        "2013-01-01T00:00:00-0500",
        "2013-01-01 00:00:00-05",  # as PostgreSQL writes it
        "2013-01-01 10:30:00.000000+05:30",
        "2013-01-01T05:00Z ",
    ],
)
def test_a_moment_with_an_offset_is_that_moment(text: str):
    assert fitting(pa.array([text, None]), "timestamp", text_only=True) == [NEW_YEAR, None]


@pytest.mark.parametrize(
    "text",
    ["2013-01-01", "2013-01-01 00:00", "2013-01-01T00:00:00.000", "20130101", "2013/01/01 00"],
)
def test_a_moment_without_an_offset_stays_without(text: str):
    naive = datetime(2013, 1, 1)  # noqa: DTZ001
    assert fitting(pa.array([text]), "timestamp", text_only=True) == [naive]


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (pa.array([1, None]), [False, True]),
        (pa.array([1.0, float("nan"), None]), [False, True, True]),
        (pa.array(["a", None]), [False, True]),
        (pa.array(["a", None]).dictionary_encode(), [False, True]),
        (pa.array(["", "nan"]), [False, False]),
        (pa.array([1, 2]), [False, False]),
    ],
)
def test_null_and_nan_are_missing_values(values: pa.Array, missing: list[bool]):
    assert null_mask(values).tolist() == missing


def hashed(*columns: pa.Array) -> list[int]:
    return [int(h) for h in hash_rows(list(columns))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["a", None, "b"]), pa.array(["a", None, "b"]).dictionary_encode()),
        (pa.array(["a", "b"]), pa.array(["a", "b"], pa.large_string())),
        (pa.array(["b", "a"]), pa.DictionaryArray.from_arrays([1, 0], ["a", "b"])),
        (pa.array([1, None, 3], pa.int8()), pa.array([1, None, 3], pa.int64())),
        (pa.array([1, 3], pa.uint64()), pa.array([1, 3], pa.int64())),
        (pa.array([1.5, None], pa.float32()), pa.array([1.5, None], pa.float64())),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([1, 2, 3]).slice(1), pa.array([2, 3])),
    ],
)
def test_the_same_values_have_the_same_hash_however_they_are_stored(one: pa.Array, other: pa.Array):
    assert hashed(one) == hashed(other)


def test_hashes_are_the_same_in_every_process():
    code = (
        "import pyarrow as pa; from scoring.arrow.hashing import hash_rows\n"
        "print(hash_rows([pa.array([1, 2]), pa.array(['a', None])]).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{hashed(pa.array([1, 2]), pa.array(['a', None]))}\n"


@pytest.mark.parametrize(
    "values",
    [
        pa.array(range(1000)),
        pa.array([str(i) for i in range(1000)]),
        pa.array([i / 7 for i in range(1000)]),
        pa.array([2**64 - 1 - i for i in range(1000)], pa.uint64()),
        pa.array(range(1000), pa.timestamp("us", "UTC")),
        pa.array(range(1000), pa.date32()),
        pa.array([86_400_000 * i for i in range(1000)], pa.date64()),
        pa.array(range(1000), pa.time32("s")),
        pa.array(range(1000), pa.time64("us")),
        pa.array(range(1000), pa.duration("s")),
        pa.array([decimal.Decimal(i) / 100 for i in range(1000)]),
        pa.array([i.to_bytes(2, "big") for i in range(1000)], pa.binary()),
        pa.array([i.to_bytes(16, "big") for i in range(1000)], pa.binary(16)),
    ],
    ids=lambda values: str(values.type),
)  # fmt: skip
def test_different_values_have_different_hashes_whatever_their_type(values: pa.Array):
    assert len(set(hashed(values))) == 1000


def test_the_order_of_the_columns_and_of_equal_parts_counts():
    a, b = pa.array(["x", "y"]), pa.array(["y", "x"])
    assert len({*hashed(a, b), *hashed(b, a)}) == 2
    assert hashed(a, b) != hashed(b, a)
    assert hashed(pa.array(["ab"]), pa.array(["c"])) != hashed(pa.array(["a"]), pa.array(["bc"]))
    assert len(set(hashed(pa.array([True, False])))) == 2


def test_values_are_shown_as_text():
    assert as_text(pa.array([1.5, None])).to_pylist() == ["1.5", None]
    assert as_text(pa.array(["a", None]).dictionary_encode()).to_pylist() == ["a", None]
    assert as_text(pa.array([b"\xff", None])).to_pylist() == ["ff", None]
    assert as_text(pa.array([[1, 2], None])).to_pylist() == ["[1, 2]", None]
    assert as_text(pa.array([{"a": 1}])).to_pylist() == ["{'a': 1}"]
