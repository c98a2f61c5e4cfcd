"""The inputs of a job: the columns that the model is given, and what their values must be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from scoring.job.schedule import check_zone
from scoring.job.section import Section

ColumnType = Literal[
    "string", "int8", "int16", "int32", "int64", "float32", "float64",
    "boolean", "timestamp", "date",
]  # fmt: skip


TimeUnit = Literal["s", "ms", "us", "ns"]


class ColumnConfig(Section):
    """What the values of one input must be."""

    type: ColumnType
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    allowed: list[str | int | float | bool] | None = None
    unit: TimeUnit | None = None
    timezone: Annotated[str, AfterValidator(check_zone)] | None = None

    @property
    def time_unit(self) -> TimeUnit:
        """The unit of the moments that the model is given."""
        return self.unit or "ns"

    @property
    def is_number(self) -> bool:
        return self.type.startswith(("int", "float"))

    def can_be(self, value: str | int | float | bool) -> bool:
        """Whether ``value``, from ``allowed``, is of the kind that this column's values are."""
        if self.type == "boolean" or isinstance(value, bool):
            return self.type == "boolean" and isinstance(value, bool)
        if self.is_number:
            return not isinstance(value, str) and (
                self.type.startswith("float") or float(value).is_integer()
            )
        return isinstance(value, str)
