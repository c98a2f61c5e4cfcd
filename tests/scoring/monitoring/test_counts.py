from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.monitoring.statistics import (
    CATEGORIES_LIMIT,
    FEWEST_BITS,
    MOST_BITS,
    Counts,
    _bucket_numbers,
    value_of,
)

NUMBERS = st.lists(st.none() | st.floats(allow_nan=False, width=32), max_size=50)
TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", "c"]), max_size=50)


def counted(*parts: pa.Array) -> Counts:
    counts = Counts()
    for part in parts:
        counts.add(part)
    return counts


def test_counts_are_of_every_value_and_of_nulls():
    counts = counted(pa.array(["b", "a", None, "b"]).dictionary_encode())
    assert counts.model_dump() == {
        "rows": 4,
        "nulls": 1,
        "bits": 12,
        "buckets": {"numbers": [], "counts": []},
        "categories": {"b": 2, "a": 1},
        "too_many": False,
    }


@pytest.mark.parametrize("kind", [pa.float64(), pa.int64(), pa.decimal128(20, 1)])
def test_equal_numbers_share_a_bucket_whatever_their_type(kind: pa.DataType):
    counts = counted(pa.array([3, 3, None, 0, -3], pa.int64()).cast(kind))
    assert (counts.rows, counts.nulls) == (5, 1)
    assert [counts.buckets[bucket] for bucket in sorted(counts.buckets)] == [1, 1, 2]


@given(NUMBERS, NUMBERS)
def test_the_counts_of_numbers_in_two_parts_add_up_to_those_of_the_whole(one, other):
    parts = [pa.array(values, pa.float64()) for values in (one, other)]
    merged = counted(parts[0])
    merged.merge(counted(parts[1]))
    assert merged == counted(pa.concat_arrays(parts))


@given(TEXTS, TEXTS)
def test_the_counts_of_texts_in_two_parts_add_up_to_those_of_the_whole(one, other):
    parts = [pa.array(values, pa.string()) for values in (one, other)]
    merged = counted(parts[0])
    merged.merge(counted(parts[1]))
    assert merged == counted(pa.concat_arrays(parts))


@given(NUMBERS, NUMBERS)
def test_what_is_taken_out_again_leaves_no_trace(one, other):
    parts = [pa.array(values, pa.float64()) for values in (one, other)]
    counts = counted(*parts)
    counts.add(parts[1], sign=-1)
    assert counts == counted(parts[0])


def test_values_that_lie_close_together_have_finer_buckets():
    years = counted(pa.array([2012, 2013, 2013, 2014]))
    assert [count for _, count in sorted(years.buckets.items())] == [1, 2, 1]
    assert [value_of(bucket, years.bits) for bucket in sorted(years.buckets)] == [2012, 2013, 2014]


def test_many_values_have_coarser_buckets_of_less_than_two_percent():
    values = np.random.default_rng(2013).lognormal(3.0, 3.0, 300_000)
    counts = counted(pa.array(values))
    assert counts.bits < MOST_BITS
    assert sum(counts.buckets.values()) == len(values)
    near = [value_of(bucket, counts.bits) for bucket in _bucket_numbers(values, counts.bits)]
    assert np.abs(np.array(near) / values - 1).max() <= 0.01


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_the_parts_that_values_come_in_do_not_matter(parts: int):
    values = np.random.default_rng(2013).normal(5.0, 1000.0, 50_000)
    whole = counted(pa.array(values))
    merged = counted()
    for part in np.array_split(values, parts):
        merged.merge(counted(*(pa.array(piece) for piece in np.array_split(part, 7))))
    assert merged.model_dump_json() == whole.model_dump_json()
    assert FEWEST_BITS <= whole.bits < MOST_BITS


def test_more_values_than_are_counted_are_said_to_be_too_many():
    half = CATEGORIES_LIMIT // 2 + 1
    parts = [pa.array([f"{part}-{n}" for n in range(half)]) for part in (1, 2)]
    merged = counted(parts[0])
    assert not merged.too_many
    merged.merge(counted(parts[1]))
    for counts in (merged, counted(*parts), counted(pa.concat_arrays(parts))):
        assert (counts.rows, counts.too_many, counts.categories) == (2 * half, True, {})


def test_counts_are_read_as_they_were_written():
    counts = counted(pa.array([1.5, -2.0, None, 1e300]))
    assert Counts.model_validate_json(counts.model_dump_json()) == counts
