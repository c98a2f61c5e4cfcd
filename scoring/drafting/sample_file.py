"""A sample of rows: its columns, and the type that a contract would give each of them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scoring.arrow.cast import ColumnCast, MixedZonesError, NotCastableError
from scoring.arrow.columns import combined_column, null_mask
from scoring.arrow.contract import contract_type
from scoring.arrow.text import decoded, is_text
from scoring.errors import SourceError
from scoring.job.inputs import ColumnConfig, ColumnType
from scoring.job.schedule import check_zone
from scoring.sources.csv_text import read_csv_text

ROWS_READ = 1_000_000
_SHOWN_VALUES = 6
_FEW = 20
"""A text with so few distinct values is a category, whose values may be shown."""

_OF_TEXT: tuple[ColumnType, ...] = ("int64", "float64", "boolean", "date", "timestamp")
"""What a text is tried as, in this order."""

_WIDER: dict[pa.DataType, ColumnType] = {
    pa.uint8(): "int16",
    pa.uint16(): "int32",
    pa.uint32(): "int64",
    pa.uint64(): "int64",
    pa.float16(): "float32",
    pa.date64(): "date",
}
"""What a contract calls types that it has no name for."""

_LEADING_ZERO = r"^\s*[+-]?0\d"


@dataclass(frozen=True)
class SampledColumn:
    """One column: ``values`` in its contract's type, ``config`` None for a type that none has."""

    name: str
    stored: str
    values: pa.Array
    config: ColumnConfig | None

    @property
    def is_null(self) -> npt.NDArray[np.bool_]:
        """Which values are null or NaN."""
        return null_mask(self.values)

    @property
    def seen(self) -> str:
        """Return what values there are, in a few words, for a comment."""
        known = self.values.filter(pa.array(~self.is_null))
        if not len(known):
            return "nulls only"
        nulls = int(self.is_null.sum())
        parts = [_described(known), f"{nulls:,} of {len(self.values):,} null" if nulls else ""]
        return ", ".join(part for part in parts if part)


def read_sample(path: Path, timezone: str = "UTC") -> dict[str, SampledColumn]:
    """Return the columns of a parquet or CSV file by name: of its first ``ROWS_READ`` rows.

    Raises SourceError for a file that cannot be read, or has neither rows nor columns.
    """
    text_only = ".csv" in path.name
    try:
        table = _read_csv(path) if text_only else _read_parquet(path)
    except (pa.ArrowException, UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise SourceError(
            f"the sample {path} cannot be read: {why.rstrip('.')}. It has to be a parquet file, or a CSV file "
            "by its name"
        ) from None
    if not table.num_rows or not table.num_columns:
        raise SourceError(f"the sample {path} has no rows, so no types can be drafted from it")
    columns = {}
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise SourceError(f"the sample {path} has more than one column {name!r}; rename one")
        values = decoded(combined_column(table, name))
        of = _text_column if text_only else _typed_column
        columns[name] = of(name, values, ZoneInfo(timezone))
    return columns


def _read_parquet(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        batches = list(islice(file.iter_batches(131_072), -(-ROWS_READ // 131_072)))
        return pa.Table.from_batches(batches, file.schema_arrow).slice(0, ROWS_READ)


def _read_csv(path: Path) -> pa.Table:
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        header = next(csv.reader(text), [])
    with _opened(path) as file:
        tables = list(_first_rows(read_csv_text(str(path), file, header)))
    return pa.concat_tables(tables).slice(0, ROWS_READ)


def _opened(path: Path) -> io.BufferedReader:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path))
    return path.open("rb")


def _first_rows(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    rows = 0
    for table in tables:
        yield table
        rows += table.num_rows
        if rows >= ROWS_READ:
            return


def _typed_column(name: str, values: pa.Array, zone: ZoneInfo) -> SampledColumn:
    stored, kind = str(values.type), values.type
    found = contract_type(kind) or _WIDER.get(kind)
    if is_text(kind):
        found = "string"
    elif pa.types.is_decimal(kind) or pa.types.is_null(kind):
        found = "float64"
    if found is None:
        return SampledColumn(name, stored, values, None)
    timezone = _iana(kind.tz) if pa.types.is_timestamp(kind) else None
    config = ColumnConfig(type=found, timezone=timezone)
    typed, _ = ColumnCast(config, zone, text_only=False)(values)
    return _with_nulls(name, stored, typed, config)


def _text_column(name: str, values: pa.Array, zone: ZoneInfo) -> SampledColumn:
    """Return a column of a CSV file in the first type that all its texts have."""
    known = values.drop_null()
    zeros = len(known) and pc.any(pc.match_substring_regex(known, _LEADING_ZERO)).as_py()
    for kind in _OF_TEXT if len(known) else ():
        if zeros and kind in ("int64", "float64"):
            continue  # 007 is a code, which a number would change
        config = ColumnConfig(type=kind)
        try:
            typed, unfit = ColumnCast(config, zone, text_only=True)(values)
        except (NotCastableError, MixedZonesError):
            continue
        if not unfit.any():
            return _with_nulls(name, "text", typed, config)
    return _with_nulls(name, "text", values, ColumnConfig(type="string"))


def _with_nulls(name: str, stored: str, typed: pa.Array, config: ColumnConfig) -> SampledColumn:
    nullable = bool(null_mask(typed).any())
    return SampledColumn(name, stored, typed, config.model_copy(update={"nullable": nullable}))


def _iana(timezone: str | None) -> str | None:
    """Return the zone of a column, if a contract can name it."""
    if timezone is None:
        return None
    try:
        return check_zone(timezone)
    except ValueError:  # such as +02:00
        return None


def _described(known: pa.Array) -> str:
    """Return the range of numbers and moments, the values of a category, the number of texts."""
    if is_text(known.type) or pa.types.is_boolean(known.type):
        values = sorted(str(value) for value in known.unique().to_pylist())
        if len(values) <= _SHOWN_VALUES or (len(values) <= _FEW and len(known) >= 10 * len(values)):
            more = f" and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else ""
            if len(known) >= 2 * len(values):  # not the names or notes of a few rows
                return f"{', '.join(values[:_SHOWN_VALUES])}{more}"
        return f"{len(values):,} values"
    try:
        limits = pc.min_max(known)
        low, high = limits["min"].as_py(), limits["max"].as_py()
    except (pa.ArrowNotImplementedError, ValueError):  # nanoseconds that Python cannot have
        return ""
    return f"{low:.6g} to {high:.6g}" if isinstance(low, float) else f"{low} to {high}"
