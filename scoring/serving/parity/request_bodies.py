"""Rows of a source as a scoring service takes them: JSON, CSV, or an Arrow stream."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from scoring.arrow.columns import combined_column
from scoring.arrow.text import (
    decoded,
    dictionary_encoded,
    is_binary,
    is_numeric_text,
    is_text,
)
from scoring.serving.bodies import ARROW, CSV, JSON
from scoring.serving.parity.client import Body

_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_TOO_LARGE = "1e999"
"""JSON has no infinity; each reader of JSON takes this for it."""


def json_body(table: pa.Table) -> Body:
    """Return the rows as a list of objects with all columns; NaN is null, as JSON has none.

    Numbers have the fewest digits that give the same number again, moments and dates are ISO 8601
    texts (in UTC where the column has a zone), bytes hexadecimal digits.
    """
    rows = ",\n".join(json_rows(table))
    return Body(JSON, f"[{rows}]".encode())


def json_rows(table: pa.Table) -> list[str]:
    """Return each row as an object of JSON; see ``json_body``."""
    columns = [
        [f"{json.dumps(name)}:{token}" for token in _tokens(combined_column(table, name))]
        for name in table.column_names
    ]
    return [f"{{{','.join(row)}}}" for row in zip(*columns, strict=True)]


def csv_body(table: pa.Table) -> Body:
    """Return the rows of a source of texts, under a line of their names; an empty text is null."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    columns = [combined_column(table, name).to_pylist() for name in table.column_names]
    writer.writerows(zip(*columns, strict=True))
    return Body(CSV, text.getvalue().encode())


def arrow_body(table: pa.Table) -> Body:
    """Return the rows as an Arrow stream of the stored types; an encoded column has the values
    that occur in these rows alone.
    """
    table = pa.table({name: _streamed(combined_column(table, name)) for name in table.column_names})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Body(ARROW, sink.getvalue().to_pybytes())


def _streamed(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_dictionary(kind):
        return dictionary_encoded(values) if is_text(kind) else values
    if pa.types.is_string_view(kind):
        return values.cast(pa.string())
    return values.cast(pa.binary()) if pa.types.is_binary_view(kind) else values


def _tokens(values: pa.Array) -> list[str]:
    """Return each value as JSON."""
    if pa.types.is_dictionary(values.type):
        of_values = _tokens(values.dictionary)
        numbers = values.indices.to_pylist()
        return ["null" if number is None else of_values[number] for number in numbers]
    if is_numeric_text(values.type):
        return [_number_token(text) for text in values.storage.to_pylist()]
    if pa.types.is_floating(values.type):
        return [_float_token(value) for value in values.to_pylist()]
    if pa.types.is_decimal(values.type):
        return ["null" if value is None else str(value) for value in values.to_pylist()]
    if is_binary(values.type):
        hexadecimal = [None if value is None else value.hex() for value in values.to_pylist()]
        return [json.dumps(text) for text in hexadecimal]
    if pa.types.is_timestamp(values.type):
        return [json.dumps(text) for text in _iso(values).to_pylist()]
    if pa.types.is_temporal(values.type):
        return [json.dumps(text) for text in values.cast(pa.string()).to_pylist()]
    return [json.dumps(value, default=str) for value in decoded(values).to_pylist()]


def _float_token(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "null"
    if math.isinf(value):
        return _TOO_LARGE if value > 0 else f"-{_TOO_LARGE}"
    return repr(value)


def _number_token(text: str | None) -> str:
    """Return the text of an exact number as JSON's number, which has no ``inf`` and no ``.5``."""
    if text is None:
        return "null"
    if _JSON_NUMBER.fullmatch(text):
        return text
    number = Decimal(text)
    if number.is_nan():
        return "null"
    if number.is_infinite():
        return _TOO_LARGE if number > 0 else f"-{_TOO_LARGE}"
    return str(number)


def _iso(values: pa.Array) -> pa.Array:
    if values.type.tz is not None:
        values = values.cast(pa.timestamp(values.type.unit, "UTC"))
    return pc.replace_substring(values.cast(pa.string()), " ", "T", max_replacements=1)
