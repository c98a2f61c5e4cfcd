"""The values of messages as rows: JSON, an Arrow stream, or CSV, with one row each.

They are read as the bodies of requests are. A message that is none is told apart from the others
by its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scoring.job.schema import Job
from scoring.serving.bodies import (
    BodyError,
    Row,
    Rows,
    checked_rows,
    parsed_if_clear,
    parsed_json,
    rows_of_arrow,
    rows_of_csv,
    table_of_json,
)
from scoring.serving.columns import RequestColumns
from scoring.serving.stream.received import Received
from scoring.serving.stream.settings import Format

ORIGIN = "the message"


@dataclass(frozen=True)
class Part:
    """Rows that may be scored together, and the place of each one's message."""

    rows: Rows
    places: list[int]


@dataclass(frozen=True)
class Decoded:
    """What messages are: each is in one of ``parts``, or in ``unreadable`` with the reason."""

    parts: list[Part]
    unreadable: Mapping[int, str]


def decoded(
    messages: Sequence[Received], columns: RequestColumns, job: Job, kind: Format
) -> Decoded:
    """Return the rows of ``messages``."""
    if kind == "json":
        return _of_json(messages, columns, job)
    return _of_tables(messages, columns, {"arrow": rows_of_arrow, "csv": rows_of_csv}[kind])


def _of_json(messages: Sequence[Received], columns: RequestColumns, job: Job) -> Decoded:
    rows: list[Row] = []
    places, unreadable, needed = [], {}, columns.needed
    for place, message in enumerate(messages):
        clear = parsed_if_clear(message.value or b"")
        if type(clear) is dict and needed <= clear.keys():
            rows.append(clear)
            places.append(place)
            continue
        try:
            rows.append(_row(message, columns, job))
        except BodyError as error:
            unreadable[place] = str(error)
        else:
            places.append(place)
    parts = [Part(table_of_json(rows, columns, job), places)] if rows else []
    return Decoded(parts, unreadable)


def _row(message: Received, columns: RequestColumns, job: Job) -> Row:
    found = parsed_json(_value(message), ORIGIN)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, list):
        raise BodyError(f"{ORIGIN} has {len(found):,} rows; each message has one")
    if isinstance(found, dict) and not columns.needed <= found.keys():
        ids = [name for name in job.id_columns if name in columns.needed and name not in found]
        if ids:
            found |= _ids_of_key(message.key, ids, columns)
    return checked_rows([found], columns, ORIGIN)[0]


def _ids_of_key(key: bytes | None, names: list[str], columns: RequestColumns) -> Row:
    """Return the row ids that stand in a message's key: one as it is, several as a JSON object."""
    if key is None:
        return {}
    try:
        text = key.decode()
        config = columns.types.get(names[0])
        if len(names) == 1 and (config is None or config.type == "string"):
            return {names[0]: text}
        found = parsed_json(key, "the key")
    except (ValueError, BodyError):
        return {}
    if isinstance(found, dict):
        return {name: found[name] for name in names if name in found}
    return {names[0]: found} if len(names) == 1 else {}


def _of_tables(
    messages: Sequence[Received],
    columns: RequestColumns,
    read: Callable[[bytes, RequestColumns, str], Rows],
) -> Decoded:
    """Return tables of one row each, put together where their types are the same."""
    of_schema: dict[Any, tuple[list[Rows], list[int]]] = {}
    unreadable = {}
    for place, message in enumerate(messages):
        try:
            rows = read(_value(message), columns, ORIGIN)
            if rows.table.num_rows != 1:
                raise BodyError(f"{ORIGIN} has {rows.table.num_rows:,} rows; each message has one")
        except BodyError as error:
            unreadable[place] = str(error)
            continue
        found, places = of_schema.setdefault(rows.table.schema, ([], []))
        found.append(rows)
        places.append(place)
    parts = [Part(_together(found), places) for found, places in of_schema.values()]
    return Decoded(parts, unreadable)


def _together(rows: list[Rows]) -> Rows:
    table = pa.concat_tables([one.table for one in rows]).unify_dictionaries().combine_chunks()
    return Rows(table, rows[0].text_only)


def _value(message: Received) -> bytes:
    value = message.value
    if value is None:
        raise BodyError(
            f"{ORIGIN} has no value, which in a compacted topic means that it is deleted"
        )
    return bytes(value)
