"""Which partition a sample is of: by the date in its path, and by a column of moments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scoring.drafting.sample_file import SampledColumn
from scoring.job.partitions import Kind

_FORMS: tuple[tuple[Kind, str], ...] = (
    ("day", r"year=(?P<year>\d{4})/month=(?P<month>\d{2})/day=(?P<day>\d{2})"),
    ("day", r"(?<!\d)(?P<year>\d{4})(?P<s>[-_/]?)(?P<month>\d{2})(?P=s)(?P<day>\d{2})(?!\d)"),
    ("month", r"year=(?P<year>\d{4})/month=(?P<month>\d{2})"),
    ("month", r"(?<!\d)(?P<year>\d{4})[-_/]?(?P<month>\d{2})(?!\d)"),
)
"""How dates stand in the paths of files."""


@dataclass(frozen=True)
class DatedPath:
    """A path as a template, and the key of the partition that it is of."""

    template: str
    kind: Kind
    key: str


def dated_path(uri: str) -> DatedPath | None:
    """Return the template of ``uri``, whose last date becomes fields wherever it stands; None for
    one without a date.
    """
    for kind, form in _FORMS:
        for match in reversed(list(re.finditer(form, uri))):
            date_of = _date(match)
            if date_of is None:
                continue
            key = "-".join(date_of[: 3 if kind == "day" else 2])
            return DatedPath(_template(uri, date_of, kind), kind, key)
    return None


def plain_uri(path: Path, roots: dict[str, str], *, of_source: bool = False) -> str:
    """Return the URI template of one file: below ``{data}`` or ``{models}`` where it lies there.

    ``roots`` are their folders, the one to prefer first.  A URI ``of_source`` may be a pattern, so
    that its own wildcards have to be escaped.
    """
    text = str(path.absolute())
    for name, folder in roots.items():
        if "://" not in folder and text.startswith(f"{folder}/"):
            return f"{{{name}}}/{_literal(text.removeprefix(f'{folder}/'), of_source)}"
    return _literal(text, of_source)


def one_month(column: SampledColumn) -> str | None:
    """Return the month in which all values of a column of moments lie, by its own clock; None where
    it has others, or nulls.
    """
    kind = column.values.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)) or column.is_null.any():
        return None
    values = column.values
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        values = pc.local_timestamp(values)
    limits = pc.min_max(values.cast(pa.timestamp("s"), safe=False)).as_py()
    first, last = (_month(limits[end]) for end in ("min", "max"))
    return first if first == last else None


def _month(moment: datetime) -> str:
    return f"{moment:%Y-%m}"


def _date(match: re.Match[str]) -> tuple[str, str, str] | None:
    """Return year, month and day of a date in a path; None where there is no such day."""
    parts = match.groupdict()
    year, month, day = parts["year"], parts["month"], parts.get("day") or "01"
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return (year, month, day) if 1900 <= found.year <= 2199 else None


def _template(uri: str, date_of: tuple[str, str, str], kind: Kind) -> str:
    """Return ``uri`` with fields in the place of this date's numbers, and nothing else changed."""
    for of, form in _FORMS:
        if of == kind or kind == "day":
            for match in reversed(list(re.finditer(form, uri))):
                if _date(match) == (date_of if of == "day" else (*date_of[:2], "01")):
                    uri = _with_fields(uri, match)
    year = date_of[0]  # a folder of its own
    return re.sub(rf"(?<=/)(year=)?{year}(?=/)", r"\1{year}", uri)


def _with_fields(uri: str, match: re.Match[str]) -> str:
    for name in ("day", "month", "year"):  # from the end, so that places stay as they are
        if name in match.re.groupindex:
            uri = f"{uri[: match.start(name)]}{{{name}}}{uri[match.end(name) :]}"
    return uri


def _literal(path: str, of_source: bool) -> str:
    """Return a path as a template that means itself: no fields, and no patterns."""
    braces = path.replace("{", "{{").replace("}", "}}")
    return re.sub(r"([*?\[])", r"[\1]", braces) if of_source else braces
