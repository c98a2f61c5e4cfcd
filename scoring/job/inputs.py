"""The inputs of a job: the columns that the model gets, and their valid values."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from scoring.job.numbers import Number
from scoring.job.schedule import check_zone
from scoring.job.section import Problem, Section
from scoring.job.shorthand import number_in, plain, shown

ColumnType = Literal[
    "string", "int8", "int16", "int32", "int64", "float32", "float64",
    "boolean", "timestamp", "date",
]  # fmt: skip

_DATE = r"\d{4}-\d{2}-\d{2}"
_TIMESTAMP = (
    rf"{_DATE}(?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}}(?:\.\d{{1,9}})?)?(?:Z|[+-]\d{{2}}:?\d{{2}})?)?"
)


TimeUnit = Literal["s", "ms", "us", "ns"]
TimeZone = Annotated[str, AfterValidator(check_zone)]


class ColumnConfig(Section):
    """The type of one input, and the values that it may have."""

    type: Annotated[ColumnType, Field(description="The type that the model gets.")]
    nullable: Annotated[
        bool, Field(description="Whether rows with a null (or NaN) are scored.")
    ] = False
    min: Annotated[
        Number | None,
        Field(
            description="The smallest valid value, within the range of `type`. Numeric types only."
        ),
    ] = None
    max: Annotated[
        Number | None,
        Field(
            description="The largest valid value, within the range of `type`. Numeric types only."
        ),
    ] = None
    allowed: Annotated[
        list[str | int | float | bool] | None,
        Field(
            description="The only valid values: at least one, without duplicates, within the range "
            "of `type` and from `min` to `max`. Write dates as 2013-05-07 and timestamps as "
            "2013-05-07T03:00:00, either all or none of them with a UTC offset (`Z`, `+02:00`)."
        ),
    ] = None
    unit: Annotated[
        TimeUnit | None,
        Field(
            description="The time unit that the model gets, by default `ns`. Finer digits are "
            "truncated. `timestamp` and `date` only."
        ),
    ] = None
    timezone: Annotated[
        TimeZone | None,
        Field(
            description="The IANA time zone that the model gets all timestamps in. Those without a "
            "UTC offset are read in the job's `timezone`. `timestamp` only."
        ),
    ] = None

    @property
    def time_unit(self) -> TimeUnit:
        """The unit of the timestamps that the model gets."""
        return self.unit or "ns"

    @property
    def is_number(self) -> bool:
        return self.type.startswith(("int", "float"))

    def can_be(self, value: str | int | float | bool) -> bool:
        """Return whether ``value``, from ``allowed``, has this column's type."""
        if self.type == "boolean" or isinstance(value, bool):
            return self.type == "boolean" and isinstance(value, bool)
        if self.is_number:
            return not isinstance(value, str) and (
                self.type.startswith("float") or isinstance(value, int) or value.is_integer()
            )
        return isinstance(value, str)

    def problems(self) -> Iterator[Problem]:
        """Report fields that contradict each other (see ``Job.problems``)."""
        for name, limit in (("min", self.min), ("max", self.max)):
            if limit is None:
                continue
            if not self.is_number:
                yield (name,), f"{name} is for numeric types, not for {self.type}"
            elif problem := self._beyond_type(limit):
                yield (name,), problem
        if self.min is not None and self.max is not None and self.min > self.max:
            yield ("min",), f"min {self.min} is above max {self.max}"
        if self.unit is not None and self.type not in ("timestamp", "date"):
            yield ("unit",), f"unit is for timestamp and date, not for {self.type}"
        if self.timezone is not None and self.type != "timestamp":
            yield ("timezone",), f"timezone is for timestamp, not for {self.type}"
        if self.allowed is not None:
            yield from ((("allowed",), problem) for problem in self._problems_of_allowed())

    def _problems_of_allowed(self) -> Iterator[str]:
        assert self.allowed is not None
        if not self.allowed:
            yield "[] allows no value; list the values, or remove the key"
        seen: list[Any] = []
        for value in self.allowed:
            problem = self._problem_of_allowed(value)
            if problem:
                yield problem
                continue
            meant = _meaning(value, self.type)
            if meant in seen:
                yield f"{shown(value)} is listed twice"
            seen.append(meant)
        if self.type == "timestamp" and len({_has_zone(moment) for moment in seen}) > 1:
            yield (
                "some of these timestamps have a UTC offset and others do not; add one (Z or "
                "+02:00) to all or none of them"
            )

    def _problem_of_allowed(self, value: str | int | float | bool) -> str | None:
        if not self.can_be(value):
            return f"{shown(value)} is not of type {self.type}{self._hint(value)}"
        if isinstance(value, str):
            return self._problem_of_text(value)
        if isinstance(value, bool):
            return None
        if problem := self._beyond_type(value):
            return problem
        if self.min is not None and value < self.min:
            return f"{shown(value)} is below min {self.min}, so no row can have it"
        if self.max is not None and value > self.max:
            return f"{shown(value)} is above max {self.max}, so no row can have it"
        return None

    def _hint(self, value: str | int | float | bool) -> str:
        """Return how to write ``value`` for this column."""
        if self.type == "string":
            return "; put it in quotes, as 'NO'"
        number = number_in(value) if self.is_number and isinstance(value, str) else None
        return f"; write {plain(number)}, without quotes" if number is not None else ""

    def _problem_of_text(self, value: str) -> str | None:
        if self.type == "date":
            pattern, parse, example = _DATE, date.fromisoformat, "2013-05-07"
        elif self.type == "timestamp":
            pattern, parse, example = _TIMESTAMP, datetime.fromisoformat, "2013-05-07T03:00:00"
        else:
            return None
        try:
            if re.fullmatch(pattern, value, re.ASCII):
                parse(value)
                return None
        except ValueError:  # such as the 30th of February
            pass
        return f"{shown(value)} is not a {self.type} in ISO 8601, such as {example}"

    def _beyond_type(self, value: float) -> str | None:
        """Return why a column of this type cannot have the number ``value``, or None."""
        if isinstance(value, float) and not math.isfinite(value):
            return (
                f"{shown(value)} is not a finite number, and rows with such a value are quarantined"
            )
        if self.type.startswith("int"):
            limit = 1 << (int(self.type.removeprefix("int")) - 1)
            if not -limit <= value <= limit - 1:
                return f"{shown(value)} is outside of {self.type}, from {-limit} to {limit - 1}"
            return None
        try:
            stored = (
                struct.unpack("<f", struct.pack("<f", value))[0]
                if self.type == "float32"
                else float(value)
            )
        except OverflowError:
            return f"{shown(value)} is outside of {self.type}, whose largest value is {_LARGEST[self.type]}"
        return f"{shown(value)} is 0 in {self.type}" if value and not stored else None


_LARGEST = {"float32": "3.4028235e+38", "float64": "1.7976931348623157e+308"}


def _meaning(value: Any, kind: str) -> Any:
    """Return ``value`` in a form in which equal values are equal."""
    if kind == "date":
        return date.fromisoformat(value)
    if kind == "timestamp":
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo is None else moment.astimezone(UTC)
    return value


def _has_zone(moment: datetime) -> bool:
    return moment.tzinfo is not None
