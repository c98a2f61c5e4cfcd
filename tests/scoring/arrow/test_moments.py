from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.arrow.cast import ColumnCast, MixedZonesError
from scoring.arrow.moments import in_unit, localized, read_moments
from scoring.job.inputs import ColumnConfig

NEW_YORK = ZoneInfo("America/New_York")
FAR = "9999-12-31"


def cast(texts: list[str | None], **column: Any) -> tuple[pa.Array, list[bool]]:
    config = ColumnConfig.model_validate({"type": "timestamp", **column})
    values, unfit = ColumnCast(config, NEW_YORK, text_only=True)(pa.array(texts, pa.string()))
    return values, unfit.tolist()


@given(st.lists(st.datetimes(), min_size=1, max_size=6), st.sampled_from("T "))
def test_a_clock_time_is_read_as_python_reads_it(moments: list[datetime], between: str):
    texts = pa.array([m.isoformat(between) for m in moments])
    clock, outside = read_moments(texts).clock("us")
    assert clock.to_pylist() == moments
    assert not outside.any()


@given(
    st.lists(
        st.datetimes(
            min_value=datetime(2, 1, 1),  # noqa: DTZ001  Hypothesis adds the zone
            max_value=datetime(9998, 1, 1),  # noqa: DTZ001
            timezones=st.timezones(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_moment_with_an_offset_is_the_same_instant(moments: list[datetime]):
    whole_minutes = [m for m in moments if m.utcoffset() % timedelta(minutes=1) == timedelta()]
    instants, _ = read_moments(
        pa.array([m.isoformat() for m in whole_minutes], pa.string())
    ).instants("us")
    # In UTC: Python holds two zones' moments for unequal where a clock time comes twice.
    assert instants.to_pylist() == [m.astimezone(UTC) for m in whole_minutes]


def test_nine_digits_and_a_far_date_change_no_other_row():
    usual = "2024-01-05 06:07:08"
    alone, _ = cast([usual])
    for neighbour in [
        "2024-01-05 06:07:08.123456789",
        FAR,
        "0001-01-01",
        "today",
        "now",
        "2024",
        "",
    ]:
        beside, _ = cast([neighbour, usual])
        assert beside.type == alone.type
        assert beside[1] == alone[0]


def test_nanoseconds_are_kept():
    values, _ = cast(["2024-01-05 00:00:00.123456789"])
    assert values.cast(pa.int64()).to_pylist() == [1704412800123456789]


def test_a_moment_beyond_nanoseconds_does_not_fit_and_a_coarser_unit_holds_it():
    assert cast([FAR, None])[1] == [True, False]
    values, unfit = cast([FAR, None], unit="us")
    assert values.to_pylist() == [datetime.fromisoformat(FAR), None]
    assert unfit == [False, False]


def test_clock_times_and_offsets_in_one_column_need_a_zone():
    texts = ["2024-01-31 22:30", "2024-01-31T12:00:00-05:00", None]
    with pytest.raises(MixedZonesError):
        cast(texts)
    values, unfit = cast(texts, timezone="UTC")
    assert values.to_pylist() == [
        datetime(2024, 2, 1, 3, 30, tzinfo=UTC),
        datetime(2024, 1, 31, 17, tzinfo=UTC),
        None,
    ]
    assert unfit == [False, False, False]


@pytest.mark.parametrize("stored", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_stored_moments_come_in_the_unit_of_the_contract(stored: Any, unit: Any):
    moments = [datetime(1969, 12, 31, 23, 59, 58), None, datetime(2024, 1, 5)]  # noqa: DTZ001
    values, outside = in_unit(pa.array(moments, pa.timestamp(stored)), unit)
    assert values.type == pa.timestamp(unit)
    assert values.to_pylist() == moments
    assert not outside.any()


def test_what_is_finer_than_the_unit_is_cut_off_before_1970_too():
    values, _ = in_unit(pa.array([-1, 1_999], pa.timestamp("us")), "ms")
    assert values.cast(pa.int64()).to_pylist() == [-1, 1]


def test_stored_moments_with_and_without_a_zone_come_in_the_zone_of_the_contract():
    column = ColumnConfig(type="timestamp", timezone="Asia/Tokyo")
    cast_column = ColumnCast(column, NEW_YORK, text_only=False)
    clock = pa.array([datetime(2024, 1, 31, 22, 30)], pa.timestamp("us"))  # noqa: DTZ001
    aware = pa.array([datetime(2024, 2, 1, 3, 30, tzinfo=UTC)], pa.timestamp("ms", "UTC"))
    for stored in (clock, aware):
        values, unfit = cast_column(stored)
        assert values.type == pa.timestamp("ns", "Asia/Tokyo")
        assert values[0].as_py() == datetime(2024, 2, 1, 3, 30, tzinfo=UTC)
        assert not unfit.any()


def test_a_clock_time_that_comes_twice_or_never_is_read_as_pep_495_says():
    twice, never = datetime(2024, 11, 3, 1, 30), datetime(2024, 3, 10, 2, 30)  # noqa: DTZ001
    clock = pa.array([twice, never, None], pa.timestamp("us"))
    first = [m.replace(tzinfo=NEW_YORK).astimezone(UTC) for m in (twice, never)]
    assert localized(clock, NEW_YORK)[0].to_pylist() == [*first, None]
    second = twice.replace(tzinfo=NEW_YORK, fold=1).astimezone(UTC)
    assert localized(clock, NEW_YORK, later=True)[0].to_pylist() == [second, first[1], None]


def test_a_clock_time_that_no_calendar_has_is_marked():
    clock = pa.array(np.array([2**62, 0]), pa.timestamp("us"))
    instants, unknown = localized(clock, NEW_YORK)
    assert unknown.tolist() == [True, False]
    assert instants.null_count == 1
