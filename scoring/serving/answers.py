"""Answers on their way out: as JSON, or as an Arrow stream with a row for each row of the request."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.text import decoded
from scoring.pipeline.checked_rows import LEFT_OUT, QUARANTINED, SCORED
from scoring.serving.bodies import Row, Rows
from scoring.serving.scorer import Answers, Refused, RequestScorer


def refused_all(answers: Answers) -> bool:
    """Return whether no row got further than the quarantine."""
    quarantined = sum(refused.status == QUARANTINED for refused in answers.refused.values())
    return quarantined == answers.count > 0


def json_body(scorer: RequestScorer, rows: Rows, answers: Answers) -> bytes:
    """Return the answers as a JSON document; numbers have the digits that give their bits again."""
    return encoded(
        {
            "job": scorer.job.name,
            "model_version": scorer.file.version,
            "model_sha256": scorer.file.sha256,
            "rows": json_rows(scorer, rows, answers),
        }
    )


def encoded(document: Row) -> bytes:
    """Return ``document`` as JSON; infinite numbers, which a request may write as 1e999, as texts."""
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return json.dumps(json_value(document), ensure_ascii=False).encode()


def json_rows(scorer: RequestScorer, rows: Rows, answers: Answers) -> list[Row]:
    """Return one object for each row of the request, in its order."""
    given = _given(scorer, rows)
    names = _made(scorer, answers)
    outputs = [_json_values(answers.scored, name) for name in names]
    scored = iter(zip(*outputs, strict=True)) if outputs else iter([()] * len(answers.rows))
    found = []
    for number in range(answers.count):
        refused = answers.refused.get(number)
        row: Row = {"row": number + 1, "status": refused.status if refused else SCORED}
        for name, values in given.items():
            row[name] = values[number]
        if refused is None:
            row.update(zip(names, next(scored), strict=True))
        else:
            row |= _why(refused, number, rows)
        found.append(row)
    return found


def json_texts(scorer: RequestScorer, rows: Rows, answers: Answers) -> Iterator[str]:
    """Yield each row of ``json_rows``, but for its number, as JSON; one that is quarantined as "".

    Values are written column by column, which takes half the time.
    """
    given = _given(scorer, rows)
    made = [name for name in _made(scorer, answers) if name not in given]
    repeated = [_texts(values) for values in given.values()]
    outputs = [_texts(_json_values(answers.scored, name)) for name in made]
    scored = zip(*outputs, strict=True) if outputs else iter([()] * len(answers.rows))
    keys = [f", {json.dumps(name, ensure_ascii=False)}: " for name in (*given, *made)]
    row_of = f'{{"status": "{SCORED}"' + "".join(f"{_escape(key)}%s" for key in keys) + "}"
    left_out = (
        f'{{"status": "{LEFT_OUT}"'
        + "".join(f"{_escape(key)}%s" for key in keys[: len(given)])
        + ', "reason": %s}'
    )
    ids = zip(*repeated, strict=True) if repeated else iter([()] * answers.count)
    for number, of_row in enumerate(ids):
        refused = answers.refused.get(number)
        if refused is None:
            yield row_of % (*of_row, *next(scored))
        elif refused.status == LEFT_OUT:
            yield left_out % (*of_row, _text(refused.reason))
        else:
            yield ""


def refusal(refused: Refused, number: int, rows: Rows) -> tuple[str, str | None, str | None]:
    """Return why the row ``number`` is quarantined: reason, column, value."""
    found = _why(refused, number, rows)
    return found["reason"], found["column"], found["value"]


def _texts(values: Sequence[Any]) -> list[str]:
    """Return each value as JSON."""
    kinds = {*map(type, values)}
    if kinds == {str}:
        return [*map(encode_basestring, values)]
    if kinds == {float}:
        if all(map(math.isfinite, values)):
            return [*map(float.__repr__, values)]
    elif kinds == {int}:
        return [*map(int.__repr__, values)]
    return [*map(_text, values)]


def _text(value: Any) -> str:
    return json.dumps(json_value(value), ensure_ascii=False)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def arrow_body(scorer: RequestScorer, rows: Rows, answers: Answers) -> bytes:
    """Return the answers as an Arrow stream: ``row``, ``status``, row ids and kept columns, the
    outputs, ``reason``, ``column``, ``value``, ``model_version``, ``model_sha256``.
    """
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(1, answers.count + 1)),
        "status": answers.statuses(),
    }
    for name in scorer.echoed:
        columns[name] = decoded(combined_column(rows.table, name))
    columns |= answers.outputs(_made(scorer, answers))
    columns |= answers.reasons()
    for name, text in (
        ("model_version", scorer.file.version),
        ("model_sha256", scorer.file.sha256),
    ):
        columns[name] = pa.array([text] * answers.count, pa.string())
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _made(scorer: RequestScorer, answers: Answers) -> list[str]:
    """Return the columns of the predictions that the request does not have: not what is repeated,
    nor a row's place in a source.
    """
    others = {*scorer.echoed, *scorer.job.added_columns}
    return [name for name in answers.scored.column_names if name not in others]


def _given(scorer: RequestScorer, rows: Rows) -> dict[str, Sequence[Any]]:
    """Return the columns that an answer repeats as they came."""
    names = scorer.echoed
    if rows.given is not None:
        return {name: [row[name] for row in rows.given] for name in names}
    return {name: _json_values(rows.table, name) for name in names}


def _why(refused: Refused, number: int, rows: Rows) -> Row:
    if refused.status == LEFT_OUT:
        return {"reason": refused.reason}
    value = refused.value
    if refused.reason == "wrong_type" and rows.given is not None and refused.column is not None:
        unread = rows.unread.get(refused.column)
        if unread is not None and unread[number]:  # not in the table, so only the row has it
            wrong = rows.given[number][refused.column]
            value = wrong if isinstance(wrong, str) else json.dumps(wrong)
    return {"reason": refused.reason, "column": refused.column, "value": value}


def _json_values(table: pa.Table, name: str) -> list[Any]:
    values = combined_column(table, name).to_pylist()
    if pa.types.is_floating(table.schema.field(name).type):
        return [v if v is None or math.isfinite(v) else _not_finite(v) for v in values]
    return [json_value(v) for v in values]


def _not_finite(value: float) -> str:
    """Return the text that Protocol Buffers' JSON mapping has for what JSON has no number for."""
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def json_value(value: Any) -> Any:
    """Return a value of a column as JSON has it: moments as ISO 8601, bytes in hexadecimal digits."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [json_value(v) for v in value]
    if isinstance(value, dict):
        return {str(name): json_value(v) for name, v in value.items()}
    return str(value) if isinstance(value, Decimal | timedelta) else repr(value)
