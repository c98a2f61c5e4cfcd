"""What a scoring service has answered to a request, in the types that are published."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import combined_column
from scoring.arrow.names import type_name
from scoring.arrow.text import decoded, is_binary
from scoring.arrow.unify import TypeConflictError, exact_cast
from scoring.errors import ServiceError
from scoring.serving.bodies import ARROW, JSON
from scoring.serving.parity.client import Body

_TEXT_COLUMNS = ("status", "reason", "column", "value", "model_version", "model_sha256")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_UNREADABLE = (
    pa.ArrowException, TypeConflictError, ValueError, TypeError, LookupError, ArithmeticError,
    AttributeError,
)  # fmt: skip
"""What says that a value is not one of the published type."""


@dataclass(frozen=True)
class Column:
    """An answered column in the type that is published; ``unread`` has the places that cannot have
    it, with what stands there: in ``values``, they are null.
    """

    values: pa.Array
    unread: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnsweredRows:
    """One entry for each row of the request, in its order; ``status`` is None for an unanswered row.

    ``columns`` are the row ids and the outputs by name. ``models`` has each pair of a version and a
    digest that rows name, ``doubled`` the places of rows that are answered more than once, and
    ``others`` the numbers of answered rows that the request does not have.
    """

    status: list[str | None]
    reason: list[str | None]
    column: list[str | None]
    value: list[str | None]
    columns: Mapping[str, Column]
    models: list[tuple[str | None, str | None]]
    doubled: list[int]
    others: list[int]


def read_answer(body: Body, rows: int, types: pa.Schema) -> AnsweredRows:
    """Return the answer to a request of ``rows`` rows; ``types`` are those of the published columns.

    Raises ServiceError for what is not such an answer.
    """
    if body.content_type == ARROW:
        return _of_arrow(body.data, rows, types)
    if body.content_type == JSON:
        return _of_json(body.data, rows, types)
    raise ServiceError(
        f"the service answered with {body.content_type or 'a body without a type'}, not with {JSON} "
        f"or {ARROW}. Correct --url: this is another service"
    )


def _of_json(data: bytes, rows: int, types: pa.Schema) -> AnsweredRows:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise _malformed(f"it is not JSON: {error}") from None
    answered = found.get("rows") if isinstance(found, dict) else None
    if not isinstance(answered, list) or not all(isinstance(row, dict) for row in answered):
        raise _malformed("it has no list `rows` of objects")
    model = (_text(found.get("model_version")), _text(found.get("model_sha256")))
    return answers_of(answered, [model], rows, types)


def answers_of(
    answered: list[dict[str, Any]],
    models: list[tuple[str | None, str | None]],
    rows: int,
    types: pa.Schema,
) -> AnsweredRows:
    """Return ``answered``, objects of JSON that have the number of their row as ``row``, as the answer
    to ``rows`` rows; ``models`` are what they were scored with, and ``types`` the published ones.
    """
    at, doubled, others = _places([row.get("row") for row in answered], rows)
    in_order = [answered[place] if place is not None else {} for place in at]
    texts = {name: [_text(row.get(name)) for row in in_order] for name in _TEXT_COLUMNS[:4]}
    scored = [status == "scored" for status in texts["status"]]
    columns = {}
    for kind in types:
        values = [row.get(kind.name) for row in in_order]
        absent = {
            place: "no such field"
            for place, row in enumerate(in_order)
            if scored[place] and kind.name not in row
        }
        column = _of_json_values(values, kind.type)
        columns[kind.name] = Column(column.values, {**column.unread, **absent})
    return AnsweredRows(**texts, columns=columns, models=models, doubled=doubled, others=others)


def _of_arrow(data: bytes, rows: int, types: pa.Schema) -> AnsweredRows:
    try:
        with pa.ipc.open_stream(data) as reader:
            table = reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise _malformed(f"it is not an Arrow stream: {error}") from None
    missing = [name for name in ("row", *_TEXT_COLUMNS) if name not in table.column_names]
    if missing:
        raise _malformed(f"it has no column {', '.join(missing)}")
    at, doubled, others = _places(table.column("row").to_pylist(), rows)
    table = table.take(pa.array(at, pa.int64()))
    texts = {
        name: [_text(value) for value in table.column(name).to_pylist()] for name in _TEXT_COLUMNS
    }
    columns = {kind.name: _of_arrow_column(table, kind) for kind in types}
    answered = [place for place, status in enumerate(texts["status"]) if status is not None]
    versions, digests = texts.pop("model_version"), texts.pop("model_sha256")
    models = list(dict.fromkeys((versions[place], digests[place]) for place in answered))
    return AnsweredRows(**texts, columns=columns, models=models, doubled=doubled, others=others)


def _places(numbers: list[Any], rows: int) -> tuple[list[int | None], list[int], list[int]]:
    """Return where each row of the request is answered first (None: nowhere), the places of those
    that are answered again, and the numbers that the request does not have.
    """
    at: list[int | None] = [None] * rows
    doubled, others = [], []
    for place, number in enumerate(numbers):
        if not isinstance(number, int):
            raise _malformed(f"the number of a row is {number!r}")
        if not 1 <= number <= rows:
            others.append(number)
        elif at[number - 1] is not None:
            doubled.append(number - 1)
        else:
            at[number - 1] = place
    return at, doubled, others


def _of_arrow_column(table: pa.Table, kind: pa.Field) -> Column:
    if kind.name not in table.column_names:
        absent = f"no column {kind.name}"
        return Column(pa.nulls(len(table), kind.type), dict.fromkeys(range(len(table)), absent))
    values = decoded(combined_column(table, kind.name))
    try:
        return Column(exact_cast(values, kind.type))
    except TypeConflictError:
        name = type_name(values.type)
        return _one_by_one(
            [values.slice(place, 1) for place in range(len(values))],
            kind.type,
            lambda value: exact_cast(value, kind.type),
            lambda value: f"{value[0].as_py()} ({name})",
        )


def _of_json_values(values: list[Any], kind: pa.DataType) -> Column:
    def cast(some: list[Any]) -> pa.Array:
        return _from_json(some, kind)

    try:
        return Column(cast(values))
    except _UNREADABLE:
        return _one_by_one(
            [[value] for value in values], kind, cast, lambda value: json.dumps(value[0])
        )


def _one_by_one(
    parts: list[Any],
    kind: pa.DataType,
    cast: Callable[[Any], pa.Array],
    shown: Callable[[Any], str],
) -> Column:
    """Return a column of ``parts``, which have one value each, as far as ``cast`` takes them."""
    found, unread = [], {}
    for place, part in enumerate(parts):
        try:
            found.append(cast(part))
        except _UNREADABLE:
            found.append(pa.nulls(1, kind))
            unread[place] = shown(part)
    return Column(pa.concat_arrays(found), unread)


def _from_json(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return values of JSON as ``kind``; ValueError or ArrowInvalid where one cannot be that."""
    if pa.types.is_timestamp(kind):
        return _moments(pa.array(values, pa.string()), kind)
    if pa.types.is_date(kind):
        return pa.array(values, pa.string()).cast(pa.date32()).cast(kind)
    if pa.types.is_floating(kind) and any(isinstance(v, bool) for v in values):
        raise TypeError("a truth value among numbers")
    return pa.array([None if v is None else _python(v, kind) for v in values], kind)


def _python(value: Any, kind: pa.DataType) -> Any:
    """Return a value of JSON as Arrow makes ``kind`` of it."""
    of = pa.types
    if of.is_floating(kind):
        return _NOT_FINITE[value] if isinstance(value, str) else value
    if of.is_integer(kind) and isinstance(value, float):
        if not value.is_integer():  # Arrow would cut it
            raise ValueError("a fraction among integers")
        return int(value)
    if of.is_decimal(kind):
        return Decimal(str(value))
    if is_binary(kind):
        return bytes.fromhex(value)
    if of.is_time(kind):
        return time.fromisoformat(value)
    if of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind):
        return [None if v is None else _python(v, kind.value_type) for v in value]
    if of.is_struct(kind):
        parts = {part.name: (value.get(part.name), part.type) for part in kind}
        return {n: None if v is None else _python(v, t) for n, (v, t) in parts.items()}
    return value


def _moments(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return ISO 8601 texts as moments; those of a column with a zone have an offset."""
    texts = pc.replace_substring_regex(texts, r"\+00:?00$", "Z") if kind.tz else texts
    return texts.cast(kind)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _malformed(why: str) -> ServiceError:
    return ServiceError(
        f"the service's answer cannot be read: {why}. Correct --url, or the release of the service"
    )
