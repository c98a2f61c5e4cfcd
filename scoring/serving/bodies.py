"""The body of a request as a table of rows: JSON, an Arrow stream, or CSV.

Each row is read by itself: a value of another type than its column's makes that row one of the
wrong type, and no other.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.cast import ColumnCast
from scoring.arrow.columns import Mask
from scoring.arrow.moments import read_moments
from scoring.errors import ScoringError, SourceError
from scoring.job.inputs import ColumnConfig
from scoring.job.schema import Job
from scoring.serving.arrow_stream import is_compressed
from scoring.serving.columns import RequestColumns
from scoring.sources.csv_text import read_csv_text
from scoring.sources.rechunk import check_columns, describe_missing

JSON, ARROW, CSV = "application/json", "application/vnd.apache.arrow.stream", "text/csv"

ORIGIN = "the request"

Row = dict[str, Any]


class BodyError(ScoringError):
    """A body that cannot be read as rows of the job; nothing of it was scored."""

    exit_status = 3


def _not_json(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON; write null")


_SCAN = json.JSONDecoder(
    parse_constant=_not_json,
    object_pairs_hook=tuple,  # no function of Python's, which would take most of the time
).scan_once  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Rows:
    """The rows of a request: ``table`` has the columns that the job reads.

    ``unread`` marks, by column, the values that are null there because they are of another type;
    ``given`` has the rows as they came, where the format is JSON.
    """

    table: pa.Table
    text_only: bool
    unread: Mapping[str, Mask] = field(default_factory=dict)
    given: Sequence[Row] | None = None
    uri: str = ORIGIN

    def slice(self, start: int, count: int) -> Rows:
        """Return ``count`` of these rows."""
        unread = {name: mask[start : start + count] for name, mask in self.unread.items()}
        given = self.given[start : start + count] if self.given is not None else None
        return Rows(self.table.slice(start, count), self.text_only, unread, given, self.uri)


def rows_of_json(body: bytes, columns: RequestColumns) -> list[Row]:
    """Return the rows of a JSON object, or of an array of objects, each with all ``columns``.

    Raises BodyError.
    """
    found = parsed_json(body)
    return checked_rows(found if isinstance(found, list) else [found], columns)


def parsed_json(body: bytes, origin: str = "the body") -> Any:
    """Return what ``body`` is in JSON; raise BodyError where it is none, or not clear.

    ``origin`` is what messages call it.
    """
    if (clear := parsed_if_clear(body)) is not None:
        return clear
    try:
        found = json.loads(
            body.decode(json.detect_encoding(body)),
            object_pairs_hook=_object,
            parse_constant=_not_json,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise BodyError(f"{origin} is not JSON: {error}") from None
    if b"\\ud" in body.lower() and not _is_unicode(found):
        raise BodyError(f"{origin} has half a character (a surrogate such as \\ud800), not a text")
    return found


def parsed_if_clear(body: bytes) -> Any:
    """Return what ``body`` is, an object or an array of objects without further ones in them; None
    where it is something else, or has a key twice, which only a closer look can tell well.
    """
    if b"\\" in body:  # perhaps half a character
        return None
    try:
        text = body.decode()
        found, end = _SCAN(text, 0)
    except (ValueError, StopIteration, RecursionError):
        return None
    objects = found if type(found) is list else [found]
    if end != len(text) or body.count(b"{") != len(objects):
        return None
    rows = []
    for pairs in objects:
        if type(pairs) is not tuple:
            return None
        row = dict(pairs)
        if len(row) != len(pairs):
            return None
        rows.append(row)
    return rows if type(found) is list else rows[0]


def checked_rows(rows: list[Any], columns: RequestColumns, origin: str = ORIGIN) -> list[Row]:
    """Return ``rows``; raise BodyError for one that is not an object, or lacks one of ``columns``."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BodyError(
                f"row {number} is {_kind(row)}; a row is a JSON object with the columns of the job, "
                "and the body is one of them or an array of them"
            )
        if not columns.needed <= row.keys():
            missing = [name for name in columns.names if name not in row]
            what, hint = describe_missing(f"row {number} of {origin}", missing, list(row))
            raise BodyError(
                f"{what}.{f' Perhaps {hint}.' if hint else ''} Each row has every column, with null "
                "for what is missing"
            )
    return rows


def table_of_json(rows: Sequence[Row], columns: RequestColumns, job: Job) -> Rows:
    """Return ``rows``, each of which has all ``columns``, as a table."""
    table, unread = {}, {}
    for name in columns.names:
        values = [row[name] for row in rows]
        config = columns.types.get(name)
        exact = name in job.id_columns
        table[name], mask = _column(values, config, exact)
        if config is not None and config != job.inputs.get(name):  # not left to the contract
            table[name], unfit = _as_stored(table[name], config, job)
            mask = unfit if mask is None else mask | unfit
        if mask is not None and mask.any():
            unread[name] = mask
    return Rows(pa.table(table), True, unread, rows)


def rows_of_arrow(body: bytes, columns: RequestColumns, origin: str = ORIGIN) -> Rows:
    """Return the rows of an Arrow IPC stream; raise BodyError for what is none."""
    try:
        if is_compressed(body):
            raise BodyError(
                "the Arrow stream has compressed buffers, which could become of any size; send it "
                "uncompressed"
            )
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BodyError(f"{origin} is not an Arrow IPC stream: {error}") from None
    with _bodies_fault():
        check_columns(origin, columns.names, table.column_names)
    table = table.select(columns.names).unify_dictionaries().combine_chunks()
    return Rows(table, False)


def rows_of_csv(body: bytes, columns: RequestColumns, origin: str = ORIGIN) -> Rows:
    """Return the rows of a CSV text with a header; raise BodyError for what is none."""
    with _bodies_fault():
        tables = list(read_csv_text(origin, io.BufferedReader(io.BytesIO(body)), columns.names))
    return Rows(pa.concat_tables(tables).combine_chunks(), True)


@contextmanager
def _bodies_fault() -> Iterator[None]:
    """Raise what is wrong with a source as a BodyError."""
    try:
        yield
    except SourceError as error:
        raise BodyError(str(error)) from None


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


def _integer(text: str) -> int | float:
    """Return an integer; one of more digits than Python reads as the nearest float."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _is_unicode(found: Any) -> bool:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {str: "a text", bool: "a truth value", list: "an array", type(None): "null"}
    return names.get(type(value), "a number")


def _column(
    values: list[Any], config: ColumnConfig | None, exact: bool
) -> tuple[pa.Array, Mask | None]:
    """Return values of JSON as an array, and a mask of those of another type than ``config``'s.

    Moments and dates stay texts.
    """
    kinds = {*map(type, values)} - {type(None)}
    if config is None:
        return _any(values, kinds), None
    if config.type == "boolean":
        return _of(values, kinds, {bool}, pa.bool_())
    if config.is_number and kinds <= {int}:
        with suppress(OverflowError):
            return pa.array(values, pa.int64()), None  # the contract makes floats of them
    if config.type.startswith("int"):
        return _each(values, _whole, pa.int64())
    if config.type.startswith("float"):
        if kinds <= {float}:
            return pa.array(values, pa.float64()), None
        return _each(values, _exact_number if exact else _number, pa.float64())
    return _of(values, kinds, {str}, pa.string())


def _of(
    values: list[Any], kinds: set[type], wanted: set[type], target: pa.DataType
) -> tuple[pa.Array, Mask | None]:
    if kinds <= wanted:
        return pa.array(values, target), None
    return _each(values, lambda value: value if type(value) in wanted else None, target)


def _each(
    values: list[Any], convert: Callable[[Any], Any], target: pa.DataType
) -> tuple[pa.Array, Mask]:
    found = pa.array([None if v is None else convert(v) for v in values], target)
    given = np.array([value is not None for value in values], dtype=bool)
    return found, given & np.asarray(found.is_null())


def _whole(value: Any) -> int | None:
    """Return a whole number of 64 bits; a float may stand for one."""
    if type(value) is float and value.is_integer() and -(2.0**63) <= value < 2.0**63:
        return int(value)
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _number(value: Any) -> float | None:
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def _exact_number(value: Any) -> float | None:
    found = _number(value)
    return None if found is None or (type(value) is int and found != value) else found


def _any(values: list[Any], kinds: set[type]) -> pa.Array:
    """Return values of a column whose type nobody knows, as the texts that they are in JSON."""
    if kinds <= {str}:
        return pa.array(values, pa.string())
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pa.array(texts, pa.string())


def _as_stored(values: pa.Array, config: ColumnConfig, job: Job) -> tuple[pa.Array, Mask]:
    """Return values in the type in which a source stores them, and a mask of those that do not fit."""
    if config.type == "timestamp" and config.timezone is None:
        moments = read_moments(values)
        clock, outside = moments.clock(config.time_unit)
        unfit = np.asarray(values.is_valid()) & ~(moments.valid & ~moments.zoned) | outside
        return pc.if_else(pa.array(~unfit), clock, pa.scalar(None, clock.type)), unfit
    return ColumnCast(config, job.zone, text_only=True)(values)
