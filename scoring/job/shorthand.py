"""Corrections for values of the wrong type, such as a name in place of a list."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from scoring.errors import quoted
from scoring.job.partitions import EXAMPLES
from scoring.job.section import Loc

SHOWN_CHARACTERS = 200  # of a value in a message

_TYPES: dict[str, str] = {
    **dict.fromkeys(("int", "integer", "long", "bigint", "number(integer)", "uint32"), "int64"),
    **dict.fromkeys(("str", "text", "object", "category", "categorical", "varchar", "char"), "string"),
    **dict.fromkeys(("large_string", "dictionary", "enum", "uuid"), "string"),
    **dict.fromkeys(("float", "double", "number", "real", "decimal", "numeric"), "float64"),
    **dict.fromkeys(("float16", "half"), "float32"),
    **dict.fromkeys(("datetime", "timestamptz", "datetime64", "datetime64[ns]", "time"), "timestamp"),
    **dict.fromkeys(("datetime64[us]", "datetime64[ms]", "timestamp[us]", "timestamp[ns]"), "timestamp"),
    **dict.fromkeys(("bool", "bit", "flag"), "boolean"),
    **dict.fromkeys(("date32", "date64", "day"), "date"),
    "byte": "int8", "short": "int16", "smallint": "int16", "uint8": "int16", "uint16": "int32",
    "uint64": "int64",
}  # fmt: skip
"""Names of input types in other tools."""

_PARTITIONS: dict[str, str] = {
    **dict.fromkeys(("monthly", "months", "m", "ms", "me"), "month"),
    **dict.fromkeys(("weekly", "weeks", "w"), "week"),
    **dict.fromkeys(("daily", "days", "d", "date"), "day"),
    **dict.fromkeys(("hourly", "hours", "h"), "hour"),
}

_MAIN_FIELDS: dict[Loc, str] = {
    ("source",): "uri",
    ("source", "wait"): "timeout_hours",
    ("output",): "prediction",
    ("destination",): "uri",
}
"""The most likely field of a section that is given as a single value."""

_VERSION = "[{version: v1, uri: …, in_force_from: …}]"


def closest(value: Any, allowed: list[str]) -> str | None:
    """Which of ``allowed`` (the types of inputs, the kinds of partitions) others call ``value``."""
    name = str(value).strip().lower()
    if name in allowed:
        return name
    aliases = _PARTITIONS if set(allowed) == set(EXAMPLES) else _TYPES
    meant = aliases.get(name)
    return meant if meant in allowed else None


def hint(loc: Loc, kind: str, value: Any) -> str:
    """What to write at ``loc`` in place of ``value``, which gave Pydantic's error ``kind``."""
    if value is None:
        if loc[0] == "inputs" and "allowed" in loc:
            return "nullable: true allows nulls"
        return _for_nothing(kind)
    if kind in ("model_type", "dict_type"):
        return _for_section(loc, value)
    if kind == "list_type":
        return _for_list(loc, value)
    if kind == "bool_type":
        return "write true or false, without quotes"
    if kind == "string_type":
        if loc[-2:] == ("environment", "python") and isinstance(value, float):  # YAML's 3.10 is 3.1
            return 'put it in quotes, such as "3.10"'
        return _for_text(value)
    if isinstance(value, float) and math.isnan(value):
        return "write a number"
    if kind in ("int_type", "float_type", "int_from_float"):
        return _for_number(value, whole=kind != "float_type")
    return ""


def _for_nothing(kind: str) -> str:
    if kind in ("model_type", "dict_type"):
        return "the value is empty; indent the keys of the section, or remove it"
    if kind == "list_type":
        return "the value is empty; write [], or remove the key"
    return "the value is empty; a string that begins with # must be in quotes"


def _for_section(loc: Loc, value: Any) -> str:
    key = str(loc[-1])
    if found := re.match(r"(\w+):[{\[]", key):
        return f"a space is missing after the colon of {found[1]}:"
    if isinstance(value, str) and re.match(r"[A-Za-z_]\w*:\S", value) and "://" not in value:
        return f"a space is missing after the colon: {value.replace(':', ': ', 1)}"
    if len(loc) == 2 and loc[0] == "inputs":
        return _for_column(key, value)
    if loc == ("inputs",):
        names = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
        return f"write {{{as_yaml(names[0]) if names else 'x'}: {{type: float64}}, …}}"
    if loc == ("model",):
        return f"write model: {{versions: {_VERSION}}}"
    if loc == ("output", "probabilities"):
        return "write {COLUMN: CLASS}, such as {p_late: true}"
    if loc == ("source", "sha256"):
        return "write {PARTITION: DIGEST}, such as {2013-05: 9f86d0…}"
    if loc[:2] == ("model", "versions"):
        return f"write {_VERSION[1:-1]}"
    if loc[0] == "alerts":
        return "write {notifier: …, arguments: {…}}"
    if isinstance(value, list):
        return "write it without dashes or brackets, as key: value"
    if loc in _MAIN_FIELDS and isinstance(value, bool):
        return f"write {key}: {{{_MAIN_FIELDS[loc]}: …}}, or remove the key"
    if loc in _MAIN_FIELDS:
        return f"write {key}: {{{_MAIN_FIELDS[loc]}: {as_yaml(value)}}}"
    return ""


def _for_column(name: str, value: Any) -> str:
    of = value[0] if isinstance(value, list) and value else value
    kind = closest(of, sorted({*_TYPES.values()})) or "float64"
    return f"write {as_yaml(name)}: {{type: {kind}}}"


def _for_list(loc: Loc, value: Any) -> str:
    key = str(loc[-1])
    if loc == ("model", "versions"):
        return f"write a list: versions: {_VERSION}"
    if loc == ("alerts",):
        return "write a list: alerts: [{notifier: …, arguments: {…}}]"
    if isinstance(value, str):
        names = [part.strip() for part in value.strip("[]").split(",")]
        return f"write {key}: [{', '.join(map(as_yaml, names))}]"
    if isinstance(value, dict):
        return f"write {key}: [{', '.join(map(as_yaml, value))}]"
    return f"write {key}: [{as_yaml(value)}]"


def _for_text(value: Any) -> str:
    if isinstance(value, int | float | bool):
        return "put it in quotes"
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return f"write {as_yaml(value[0])}, without brackets"
    if isinstance(value, dict) and list(value.values()) == [None]:
        return f'put it in quotes: "{{{next(iter(value))}}}"'
    if isinstance(value, list | dict):
        return "write a single string"
    return ""


def _for_number(value: Any, whole: bool) -> str:
    if isinstance(value, str):
        number = number_in(value)
        if number is None:
            return "write an integer" if whole else "write a number"
        if number.is_integer() and abs(number) < 1e15:
            return f"write {int(number)}, without quotes"
        return f"write {plain(number)}, without quotes"
    return "write an integer" if whole else "write a number"


def shown(value: Any) -> str:
    """Return ``value`` for a message, on one line and shortened."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return quoted(json.dumps(value, default=str), SHOWN_CHARACTERS)


def number_in(text: str) -> float | None:
    """Return the finite number that ``text`` represents, or None."""
    try:
        number = float(text.replace(",", "").replace(" ", ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def plain(number: float) -> str:
    """``number`` as YAML takes it for one: 1e+300 without a point would be text."""
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    point = "" if "." in mantissa else ".0"
    sign = "" if exponent[0] in "+-" else "+"
    return f"{mantissa}{point}e{sign}{exponent}"


def as_yaml(value: Any) -> str:
    """Return ``value`` as YAML."""
    plain_text = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value)
    if plain_text and value.lower() not in ("yes", "no", "on", "off", "true", "false", "null"):
        return str(value)
    return json.dumps(value, default=str, ensure_ascii=False)
