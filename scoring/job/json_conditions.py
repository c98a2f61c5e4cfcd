"""What the JSON schema of a job file says of several fields of a section, as its ``problems`` do."""

from __future__ import annotations

from typing import Any

from scoring.job import json_patterns as patterns
from scoring.job.model import DATA_EXTENSIONS, DATA_FORMATS
from scoring.job.source import QUERIES
from scoring.registry import DESTINATIONS, MODELS, SOURCES, Registry

Schema = dict[str, Any]

NULL: Schema = {"type": "null"}
LARGEST = 1.7976931348623157e308
_FLOAT32_OVERFLOW = float(2**128 - 2**103)  # from here on a float32 is rounded to infinity
_FLOAT32_UNDERFLOW = 2.0**-150  # up to here it is rounded to 0


def given(*names: str) -> Schema:
    """Fields that have a value; null is the same as a missing key."""
    return {"required": [*names], "properties": {name: {"not": NULL} for name in names}}


def absent(name: str, why: str) -> Schema:
    return {name: {"type": "null", "errorMessage": f"{name} {why}"}}


def empty(name: str, why: str) -> Schema:
    return {name: {"maxProperties": 0, "errorMessage": f"{name} {why}"}}


def text(pattern: str, message: str) -> Schema:
    """What ``pattern`` asks of a string, with the message that VS Code shows."""
    return {"pattern": pattern, "patternErrorMessage": message}


def _one_of(registry: Registry, installed: bool, hidden: tuple[str, ...] = ()) -> list[str]:
    names = registry.names() if installed else list(registry.built_in)
    return [name for name in names if name not in hidden]


def add_source(source: Schema, installed: bool) -> None:
    properties = source["properties"]
    kinds = _one_of(SOURCES, installed, hidden=QUERIES)
    properties["uri"] |= _uri("source_uri")
    properties["format"]["enum"] = [*kinds, None]
    properties["sql"] |= text(
        patterns.QUERY,
        "a query is one SELECT with ORDER BY; its parameters: :start, :end, :partition",
    )
    of_files = {
        "if": {"properties": {"format": {"enum": [*SOURCES.built_in, None]}}},
        "then": {"properties": {"uri": {"$ref": "#/$defs/source_location"}}},
    }
    of_patterns = {
        "if": given("uri") | {"properties": {"uri": {"pattern": patterns.PATTERN}}},
        "then": {"properties": empty("sha256", "is for one file, and uri is a pattern")},
    }
    source["allOf"] = [
        {
            "if": {
                "required": ["outside_partition"],
                "properties": {"outside_partition": {"const": "leave_out"}},
            },
            "then": given("date_column"),
        },
        {
            "if": given("uri"),
            "then": {
                "properties": {
                    **absent("conn_id", "is for sql; files in S3 have run.aws_conn_id"),
                    "sql": text(rf"\b{patterns.ignore_case('source')}\b", "reads the table source"),
                },
                "allOf": [of_files, of_patterns],
            },
            "else": {
                "required": ["sql", "conn_id"],
                "properties": {
                    **given("sql", "conn_id")["properties"],
                    **absent("format", "is for files"),
                    **empty("sha256", "is for files"),
                    **absent("wait", "is for files"),
                },
            },
        },
    ]


def add_model_file(file: Schema, installed: bool, more: tuple[str, ...] = ()) -> None:
    """The model of a version, or an artifact."""
    names = [*_one_of(MODELS, installed, hidden=("mlflow",) if more else ()), *more]
    folders = [] if more else [{"properties": {"uri": {"pattern": patterns.MODEL_FOLDER}}}]
    file["properties"]["uri"] |= _uri("root_uri")
    file["properties"]["format"]["enum"] = [*names, None]
    file["allOf"] = [
        {"properties": {"uri": {"$ref": "#/$defs/root_location"}}},
        {
            "if": {
                "anyOf": [
                    {**given("format"), "properties": {"format": {"enum": [*DATA_FORMATS]}}},
                    {
                        "properties": {
                            "format": NULL,
                            "uri": {"pattern": patterns.file_extension([*DATA_EXTENSIONS])},
                        }
                    },
                    *folders,
                ]
            },
            "else": given("sha256"),
        },
    ]
    if folders:
        file["allOf"].append(_in_force())
        of_model = {"required": ["environment"], "properties": {"environment": {"const": "model"}}}
        file["allOf"].append({"if": of_model, "then": folders[0]})


def _in_force() -> Schema:
    """A version is in force from some partition on, or a candidate."""
    candidate = {"required": ["candidate"], "properties": {"candidate": {"const": True}}}
    never = absent("in_force_from", "is not for a candidate, which is never in force")
    return {"if": candidate, "then": {"properties": never}, "else": given("in_force_from")}


def add_destination(destination: Schema, installed: bool) -> None:
    properties = destination["properties"]
    properties["uri"] |= _uri("root_uri")
    properties["format"]["enum"] = _one_of(DESTINATIONS, installed)
    destination["allOf"] = [
        {
            "if": {"properties": {"format": {"enum": [*DESTINATIONS.built_in]}}},
            "then": {"properties": {"uri": {"$ref": "#/$defs/root_location"}}},
        },
        {
            "if": {
                "required": ["kms_key_id"],
                "properties": {"kms_key_id": {"type": "string", "minLength": 1}},
            },
            "then": {"required": ["sse"], "properties": {"sse": {"const": "aws:kms"}}},
        },
    ]


def _uri(definition: str) -> Schema:
    return {"$ref": f"#/$defs/{definition}"}


def add_column(column: Schema) -> None:
    properties = column["properties"]
    properties["timezone"] |= text(patterns.TIME_ZONE, "not an IANA time zone")
    properties["allowed"] |= {
        "items": {"type": ["string", "number", "boolean"]},
        "minItems": 1,
        "uniqueItems": True,
    }
    number = "is for numeric types"
    no_limits = {**absent("min", number), **absent("max", number)}
    zoned = [patterns.TIMESTAMP_WITH_OFFSET, patterns.TIMESTAMP_WITHOUT_OFFSET]
    column["allOf"] = [
        *(_of_type([name], _within(limits)) for name, limits in _ranges().items()),
        _of_type(["boolean"], {**no_limits, **_allowed({"type": "boolean"})}),
        _of_type(["string"], {**no_limits, **_allowed({"type": "string"})}),
        _of_type(
            ["date"],
            {
                **no_limits,
                **_allowed({"type": "string", **text(patterns.DATE, "such as 2013-05-07")}),
            },
        ),
        _of_type(
            ["timestamp"],
            {
                **no_limits,
                "allowed": {
                    "items": {
                        "type": "string",
                        **text(patterns.TIMESTAMP, "such as 2013-05-07T03:00:00"),
                    },
                    "anyOf": [{"items": {"pattern": pattern}} for pattern in zoned],
                },
            },
        ),
        _unless_type(["timestamp", "date"], absent("unit", "is for timestamp and date")),
        _unless_type(["timestamp"], absent("timezone", "is for timestamp")),
    ]


def _ranges() -> dict[str, Schema]:
    """What a number must be for a column of each numeric type."""
    ranges: dict[str, Schema] = {
        f"int{bits}": {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
        for bits in (8, 16, 32, 64)
    }
    ranges["float32"] = {
        "exclusiveMinimum": -_FLOAT32_OVERFLOW,
        "exclusiveMaximum": _FLOAT32_OVERFLOW,
        "anyOf": [
            {"exclusiveMinimum": _FLOAT32_UNDERFLOW},
            {"exclusiveMaximum": -_FLOAT32_UNDERFLOW},
            {"const": 0},
        ],
    }
    ranges["float64"] = {"minimum": -LARGEST, "maximum": LARGEST}
    return ranges


def _within(limits: Schema) -> Schema:
    kind = {"type": "integer"} if isinstance(limits.get("maximum"), int) else {"type": "number"}
    finite = {**kind, **limits, "not": {"$ref": "#/$defs/nan"}}
    limit = {"if": {"type": "number"}, "then": limits} if "anyOf" in limits else limits
    return {"min": limit, "max": limit, **_allowed(finite)}


def _allowed(item: Schema) -> Schema:
    return {"allowed": {"items": item}}


def _of_type(types: list[str], properties: Schema) -> Schema:
    of = {"required": ["type"], "properties": {"type": {"enum": types}}}
    return {"if": of, "then": {"properties": properties}}


def _unless_type(types: list[str], properties: Schema) -> Schema:
    return {
        "if": {"properties": {"type": {"enum": types}}},
        "else": {"properties": properties},
    }
