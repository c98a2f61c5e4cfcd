"""What a stored type is called in messages: by the name that its owner knows, not by Arrow's own."""

from __future__ import annotations

import pyarrow as pa

from scoring.arrow.text import is_binary, is_text

_PLAIN: dict[pa.DataType, str] = {
    pa.null(): "nulls only",
    pa.bool_(): "boolean",
    pa.float16(): "float16",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.date32(): "date",
    pa.date64(): "date",
    pa.month_day_nano_interval(): "interval",
}


def type_name(kind: pa.DataType) -> str:
    """Return the name of ``kind`` for people: ``text``, ``int64``, ``timestamp with time zone
    UTC``.

    Encoded columns have the name of their values: how they are stored changes no value.
    """
    if isinstance(kind, pa.BaseExtensionType):
        name = kind.extension_name.removeprefix("arrow.")
        return name if name != kind.extension_name else type_name(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return type_name(kind.value_type)
    if pa.types.is_run_end_encoded(kind):
        return type_name(kind.value_type)
    if kind in _PLAIN:
        return _PLAIN[kind]
    return _name_of_family(kind)


def _name_of_family(kind: pa.DataType) -> str:
    of = pa.types
    if is_text(kind):
        return "text"
    if is_binary(kind):
        return "bytes"
    if of.is_timestamp(kind):
        return f"timestamp with time zone {kind.tz}" if kind.tz else "timestamp without time zone"
    if of.is_time(kind):
        return "time of day"
    if of.is_duration(kind):
        return "duration"
    if of.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if of.is_struct(kind):
        return f"struct of {', '.join(field.name for field in kind)}" if len(kind) else "struct"
    if of.is_map(kind):
        return f"map of {type_name(kind.key_type)} to {type_name(kind.item_type)}"
    if of.is_nested(kind) and hasattr(kind, "value_type"):
        return f"list of {type_name(kind.value_type)}"
    if of.is_union(kind):
        return "union"
    return str(kind)  # integers are called as Arrow calls them
