"""Months of two places compared with each other, byte for byte."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Month:
    """A published month: how many rows it has, and the digest of its bytes."""

    rows: int
    sha256: str


Months = Mapping[str, Month]


def months_of(text: str) -> dict[str, Month]:
    """What `in_bucket` and `on_laptop` have printed."""
    return {key: Month(**month) for key, month in sorted(json.loads(text).items())}


def differences(expected: Months, found: Months) -> list[str]:
    """One line for each month that is missing, has other bytes, or should not be there."""
    lines = []
    for key in sorted({*expected, *found}):
        if key not in found:
            lines.append(f"{key} is not published")
        elif key not in expected:
            lines.append(f"{key} is published, and is none of the job's months")
        elif expected[key] != found[key]:
            lines.append(f"{key}: {_text(found[key])}, on the laptop {_text(expected[key])}")
    return lines


def table(expected: Months, found: Months) -> Table:
    """One row for each month of the laptop."""
    made = Table(box=None, pad_edge=False)
    for title in ("month", "rows", "sha256", ""):
        made.add_column(title, justify="right" if title == "rows" else "left", no_wrap=True)
    for key, month in expected.items():
        there = found.get(key)
        equal = "missing" if there is None else "as on the laptop" if there == month else "OTHER"
        shown = there or month
        made.add_row(key, f"{shown.rows:,}", shown.sha256[:16], equal)
    return made


def _text(month: Month) -> str:
    return f"{month.rows:,} rows, sha256 {month.sha256[:16]}"
