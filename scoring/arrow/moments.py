"""Moments on their way: read from text one by one, moved to another unit, put on a time zone's
clock.

A moment is ``seconds`` since 1970 and ``nanoseconds`` within that second, so that no unit limits
the years that can be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import Mask
from scoring.arrow.text import dictionary_codes
from scoring.job.inputs import TimeUnit

PER_SECOND: dict[str, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY_SECONDS = 86_400

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  a clock of any zone

Integers = npt.NDArray[np.int64]

# 20240131 and 2024/01/31 become 2024-01-31 first.
_COMPACT_DATE = r"^\s*(\d{4})(\d{2})(\d{2})(\s*$|[T ])"
_SLASHED_DATE = r"^\s*(\d{4})/(\d{2})/(\d{2})"
_ISO_8601 = (
    r"^\s*(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
    r"(?:[T "
    r"](?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?"
    r"\s?(?P<sign>[Zz+-])?(?:(?P<zone_hour>\d{2})(?::?(?P<zone_minute>\d{2}))?)?)?\s*$"
)


@dataclass(frozen=True)
class TextMoments:
    """What texts say: a moment on their own clock, and how far that clock is from UTC.

    ``valid`` marks the texts that are moments, ``zoned`` those that name an offset.  All arrays are
    aligned with the texts.
    """

    seconds: Integers
    nanoseconds: Integers
    offset: Integers
    zoned: Mask
    valid: Mask

    def clock(self, unit: TimeUnit) -> tuple[pa.Array, Mask]:
        """Return the clock times as they are written, and which of them ``unit`` cannot hold."""
        return _timestamps(self.seconds, self.nanoseconds, self.valid, unit)

    def instants(self, unit: TimeUnit) -> tuple[pa.Array, Mask]:
        """Return the instants of the texts that name an offset, in UTC; null for the others."""
        known = self.valid & self.zoned
        array, outside = _timestamps(self.seconds - self.offset, self.nanoseconds, known, unit)
        return array.cast(pa.timestamp(unit, "UTC")), outside


def read_moments(text: pa.Array) -> TextMoments:
    """Return each text by itself, as ISO 8601: a date, or a date and a time, with or without an
    offset.

    Words such as ``today`` are not moments, and neither is a bare year.
    """
    encoded = text if pa.types.is_dictionary(text.type) else text.dictionary_encode()
    found = _read_distinct(encoded.dictionary.cast(pa.string()))
    codes = dictionary_codes(encoded)  # null is one past the last
    pad = {"seconds": 0, "nanoseconds": 0, "offset": 0, "zoned": False, "valid": False}
    return TextMoments(
        **{name: np.append(getattr(found, name), value)[codes] for name, value in pad.items()}
    )


def _read_distinct(text: pa.Array) -> TextMoments:
    text = pc.replace_substring_regex(text, _COMPACT_DATE, r"\1-\2-\3\4")
    text = pc.replace_substring_regex(text, _SLASHED_DATE, r"\1-\2-\3")
    parts = pc.extract_regex(text, _ISO_8601)
    valid = np.asarray(parts.is_valid())

    def number(name: str) -> Integers:
        digits = parts.field(name).fill_null("")
        if name == "fraction":
            digits = pc.utf8_rpad(digits, 9, "0")
        return np.asarray(pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64()))

    sign = np.asarray(parts.field("sign").fill_null(""), dtype=object)
    with_hours = np.asarray(pc.not_equal(parts.field("zone_hour").fill_null(""), ""))
    signed = (sign == "+") | (sign == "-")
    valid &= signed == with_hours  # neither "+" alone nor "Z05:00" nor "12:00 05"
    year, month, day = number("year"), number("month"), number("day")
    hour, minute, second = number("hour"), number("minute"), number("second")
    zone_hour, zone_minute = number("zone_hour"), number("zone_minute")
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day - 1)
    valid &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    valid &= days.astype("datetime64[M]") == months  # no 30th of February
    valid &= (hour < 24) & (minute < 60) & (second < 60) & (zone_hour < 24) & (zone_minute < 60)
    seconds = days.astype(np.int64) * DAY_SECONDS + hour * 3600 + minute * 60 + second
    offset = np.where(sign == "-", -1, 1) * (zone_hour * 3600 + zone_minute * 60)
    return TextMoments(seconds, number("fraction"), offset, sign != "", valid)


def in_unit(values: pa.Array, unit: TimeUnit) -> tuple[pa.Array, Mask]:
    """Return timestamps or dates in ``unit``, with their zone, and which of them it cannot hold
    (null there).

    What is finer than ``unit`` is cut off.
    """
    zone = getattr(values.type, "tz", None)
    if pa.types.is_date32(values.type):
        per_second, numbers = 1, values.cast(pa.int32()).cast(pa.int64())
        scaled = np.asarray(numbers.fill_null(0)) * DAY_SECONDS
    else:
        stored = "ms" if pa.types.is_date64(values.type) else values.type.unit
        per_second, numbers = PER_SECOND[stored], values.cast(pa.int64())
        scaled = np.asarray(numbers.fill_null(0))
    seconds, within = np.divmod(scaled, per_second)
    present = np.asarray(values.is_valid())
    nanoseconds = within * (10**9 // per_second)
    array, outside = _timestamps(seconds, nanoseconds, present, unit)
    return array.cast(pa.timestamp(unit, zone)), outside


def localized(clock: pa.Array, zone: ZoneInfo, later: bool = False) -> tuple[pa.Array, Mask]:
    """Return clock times of ``zone`` as instants in UTC, and which of them have none (null there).

    A time that comes twice is the first of the two, or the second if ``later``.  One that the clock
    skips is read with the offset before the gap, as PEP 495 has it.  Years are those of Python's
    datetime, 1 to 9999.
    """
    scale = PER_SECOND[clock.type.unit]
    numbers = np.asarray(clock.cast(pa.int64()).fill_null(0))
    seconds, known = _offsets(numbers // (60 * scale), zone, later)
    present = np.asarray(clock.is_valid())
    instants = pa.array(numbers - seconds * scale, pa.int64(), mask=~(present & known))
    return instants.cast(pa.timestamp(clock.type.unit, "UTC")), present & ~known


def _offsets(minutes: Integers, zone: ZoneInfo, later: bool) -> tuple[Integers, Mask]:
    """Return ``_offset`` of each of ``minutes``, and where there is one."""
    hours, at = np.unique(minutes // 60, return_inverse=True)
    of_hour = np.zeros(len(hours), dtype=np.int64)
    known, clock_is_set = np.ones(len(hours), dtype=bool), np.zeros(len(hours), dtype=bool)
    for i, hour in enumerate(hours.tolist()):
        ends = {
            _offset(60 * hour + minute, zone, fold) for minute in (0, 59) for fold in (False, True)
        }
        offset = next(iter(ends))
        known[i], clock_is_set[i] = offset is not None, len(ends) > 1
        of_hour[i] = offset or 0
    seconds = of_hour[at]
    for row in np.flatnonzero(clock_is_set[at]):  # the few in an hour in which the clock is set
        seconds[row] = _offset(int(minutes[row]), zone, later) or 0
    return seconds, known[at]


@lru_cache(maxsize=1 << 16)
def _offset(minute: int, zone: ZoneInfo, later: bool) -> int | None:
    """Return seconds from UTC to the clock of ``zone``, at a minute since 1970 on that clock; None
    without a year.
    """
    try:
        moment = _EPOCH + timedelta(minutes=minute)
    except OverflowError:
        return None
    offsets = [moment.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)]
    first, second = (offset // timedelta(seconds=1) for offset in offsets if offset is not None)
    return second if later and first > second else first


def _timestamps(
    seconds: Integers, nanoseconds: Integers, present: Mask, unit: TimeUnit
) -> tuple[pa.Array, Mask]:
    scale = PER_SECOND[unit]
    limit = (2**63 - 1) // scale - 1
    outside = present & ((seconds > limit) | (seconds < -limit))
    kept = present & ~outside
    numbers = np.where(kept, seconds, 0) * scale + nanoseconds // (10**9 // scale)
    return pa.array(numbers, pa.int64(), mask=~kept).cast(pa.timestamp(unit)), outside
