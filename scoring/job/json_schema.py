"""The JSON schema (draft 2020-12) of a job file, for editors: generated from the Pydantic models.

The schema never refuses a job file that ``check`` accepts.  It refuses the same shapes, except for
what JSON Schema cannot express:

- Comparisons of two values: ``end`` before ``start``, ``min`` above ``max``, ``allowed`` outside of
  both, a digest or model version of a partition that the job does not have.
- Uniqueness across lists or by key: version names, ``in_force_from``, one name for an output and a
  kept column, names that differ in case only, timestamps that are the same instant.
- What needs other data: whether the schedule fits the partitions, whether a time zone of a known
  area exists, UTC offsets of hour keys, ISO years with a week 53, the file's name, other job files.
- Grammar: a query is only checked for its first keyword, ``ORDER BY`` and unknown parameters.
- Text of the file: duplicate keys, size, nesting.  1.0 is an integer in JSON Schema.
"""

from __future__ import annotations

import re
from typing import Any

from scoring.job import json_patterns as patterns
from scoring.job.alert import REFERENCE, SECRET
from scoring.job.columns import ADDED_COLUMNS, QUARANTINE_COLUMNS, RESERVED_COLUMNS, ROW
from scoring.job.expressions import REASON_CODES
from scoring.job.json_conditions import (
    LARGEST,
    NULL,
    Schema,
    add_column,
    add_destination,
    add_model_file,
    add_source,
    empty,
    given,
    text,
)
from scoring.job.model import ARTIFACT_FORMATS
from scoring.job.partitions import EXAMPLES, Kind
from scoring.job.schema import Job
from scoring.job.uri_templates import PARTITION_FIELDS, ROOT_FIELDS, SCHEMES

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NAN: Schema = {
    "$comment": "No number but NaN, which JSON does not have and YAML does.",
    "type": "number",
    "minimum": 0,
    "exclusiveMaximum": 0,
}


def job_schema(installed: bool = True) -> Schema:
    """Return the JSON schema of a job file; without ``installed``, with the built-in kinds only."""
    generated = Job.model_json_schema()
    sections: Schema = {name: _tidy(of) for name, of in generated.pop("$defs").items()}
    job: Schema = _tidy(generated)
    add_source(sections["SourceConfig"], installed)
    add_model_file(sections["ModelVersionConfig"], installed)
    add_model_file(sections["ArtifactConfig"], installed, ARTIFACT_FORMATS)
    add_destination(sections["DestinationConfig"], installed)
    add_column(sections["ColumnConfig"])
    sections["AlertConfig"]["properties"]["arguments"] |= {"$ref": "#/$defs/argument"}
    del sections["AlertConfig"]["properties"]["arguments"]["additionalProperties"]
    del sections["JsonValue"]
    _add_job(job, sections)
    definitions = {**dict(sorted(sections.items())), **_shared()}
    return {"$schema": DIALECT, "title": "Job file", **job, "$defs": definitions}


def _tidy(generated: Any) -> Any:
    """Return Pydantic's schema as an editor shows it best, and as strict as the models are."""
    if isinstance(generated, list):
        return [_tidy(item) for item in generated]
    if not isinstance(generated, dict):
        return generated
    found = {key: _tidy(value) for key, value in generated.items() if not _is_noise(key, value)}
    kinds = found.get("anyOf", [])
    if len(kinds) == 2 and kinds[1] == NULL and "type" in kinds[0]:
        del found["anyOf"]
        found = {**kinds[0], **found, "type": [kinds[0]["type"], "null"]}
        if "enum" in found:
            found["enum"] = [*found["enum"], None]
    if isinstance(found.get("description"), str):
        found["description"] = _plain_text(found["description"])
    if "patternProperties" in found:  # which would let other names pass
        ((pattern, value),) = found.pop("patternProperties").items()
        found |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    if isinstance(found.get("propertyNames", {}).get("pattern"), str):
        found["propertyNames"]["pattern"] = re.sub(
            r"\$$", r"$(?!\\n)", found["propertyNames"]["pattern"]
        )
    if isinstance(found.get("pattern"), str):
        found["pattern"] = re.sub(r"\$$", r"$(?!\\n)", found["pattern"])
    if "number" in found.get("type", ()) and found["type"] != "string":
        if not {"minimum", "exclusiveMinimum"} & set(found):
            found |= {"minimum": -LARGEST, "maximum": LARGEST}
        found["not"] = {"$ref": "#/$defs/nan"}
    return found


def _is_noise(key: str, value: Any) -> bool:
    """Whether an editor does better without it: generated titles, defaults of whole sections."""
    if key == "title":
        return isinstance(value, str)
    return key == "default" and (value is None or (isinstance(value, dict) and value != {}))


def _plain_text(markdown: str) -> str:
    """Return a description without links and line breaks: an editor has no page to follow them."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown).replace("``", "`")
    return " ".join(plain.split())


def _add_job(job: Schema, sections: Schema) -> None:
    properties = job["properties"]
    properties["schedule"] |= text(patterns.CRON, "a cron expression of five fields: 0 3 2 * *")
    properties["timezone"] |= text(patterns.TIME_ZONE, "not an IANA time zone")
    properties["scorer"] |= text(patterns.SCORER, "a path in the job file's folder: scorer.py")
    properties["row_id"]["oneOf"][1] |= {"items": {"$ref": "#/$defs/row_id"}, "uniqueItems": True}
    for model in ("ModelConfig", "ModelVersionConfig"):
        names = sections[model]["properties"]["files"]["propertyNames"]
        names["not"] = {"enum": ["df", "model"]}
    requirements = sections["EnvironmentConfig"]["properties"]["requirements"]["anyOf"][0]
    requirements |= text(patterns.SCORER, "a path in the job file's folder: requirements.txt")
    properties["inputs"]["propertyNames"] = {"not": {"const": ROW}}
    sections["SourceConfig"]["properties"]["date_column"]["not"] = {"const": ROW}
    properties["leave_out"]["propertyNames"]["not"] = {"enum": [*REASON_CODES]}
    published = {"$ref": "#/$defs/published_column"}
    output = sections["OutputConfig"]["properties"]
    output["prediction"] |= published
    output["keep"]["items"] |= published
    output["probabilities"]["propertyNames"] = published
    job["allOf"] = [
        {
            "if": given("model"),
            "else": {
                **given("scorer"),
                "properties": {
                    **given("scorer")["properties"],
                    "output": {"properties": empty("probabilities", "needs a model")},
                },
            },
        },
        {
            "if": given("scorer"),
            "then": {"properties": {"model": {"properties": {"input": {"const": "frame"}}}}},
            "else": {"properties": {"model": _without_artifacts()}},
        },
        {
            "if": {"properties": {"scorer": NULL, "model": _of_folders()}, "required": ["model"]},
            "else": {"required": ["inputs"], "properties": {"inputs": {"minProperties": 1}}},
        },
        *(_of_partition(kind) for kind in EXAMPLES),
    ]


def _of_folders() -> Schema:
    """A model whose versions all have a signature, which may stand for the job's inputs."""
    uri = {"required": ["uri"], "properties": {"uri": {"pattern": patterns.MODEL_FOLDER}}}
    return {"type": "object", "properties": {"versions": {"items": uri}}}


def _without_artifacts() -> Schema:
    none = empty("files", "is for a scorer")
    return {"properties": {**none, "versions": {"items": {"properties": none}}}}


def _of_partition(kind: Kind) -> Schema:
    """The keys of a job with partitions of ``kind``, and the column name that they take."""
    key = {"$ref": f"#/$defs/{kind}_key"}
    free = {"not": {"pattern": patterns.whole(patterns.ignore_case(kind))}}
    of_kind: Schema = {"properties": {"partition": {"const": kind}}}
    if Job.model_fields["partition"].default != kind:
        of_kind["required"] = ["partition"]
    return {
        "if": of_kind,
        "then": {
            "properties": {
                "start": key,
                "end": key,
                "source": {"properties": {"sha256": {"propertyNames": key}}},
                "model": {
                    "properties": {"versions": {"items": {"properties": {"in_force_from": key}}}}
                },
                "row_id": {"items": free},
                "output": {
                    "properties": {
                        "prediction": free,
                        "keep": {"items": free},
                        "probabilities": {"propertyNames": free},
                    }
                },
            }
        },
    }


def _shared() -> Schema:
    """The definitions that several sections use."""
    every_field = [*ROOT_FIELDS, *PARTITION_FIELDS]
    taken = [*ADDED_COLUMNS, *RESERVED_COLUMNS]
    return {
        "argument": {
            "propertyNames": {
                "anyOf": [
                    {"not": {"pattern": patterns.ignore_case(SECRET.pattern)}},
                    {"pattern": patterns.ignore_case(REFERENCE.pattern)},
                ]
            },
            "additionalProperties": {"$ref": "#/$defs/argument"},
            "items": {"$ref": "#/$defs/argument"},
            "exclusiveMinimum": -(2**63),
            "exclusiveMaximum": 2**63,
            "not": {"$ref": "#/$defs/nan"},
        },
        "nan": _NAN,
        "published_column": _other_than(taken),
        "row_id": {"type": "string", **_other_than([*taken, *QUARANTINE_COLUMNS])},
        "source_uri": text(
            patterns.uri_template(every_field), f"its fields are {_fields(every_field)}"
        ),
        "root_uri": text(
            patterns.uri_template(ROOT_FIELDS), f"its fields are {_fields(ROOT_FIELDS)}"
        ),
        "source_location": {
            **text(patterns.scheme("https", *SCHEMES), "a path, or a URI with s3, file or https"),
            "allOf": [text(patterns.HTTPS, "an https URI names one file, without a user")],
        },
        "root_location": text(patterns.scheme(*SCHEMES), "a path, or a URI with s3 or file"),
        **{f"{kind}_key": _key(kind, pattern) for kind, pattern in patterns.PARTITION_KEYS.items()},
    }


def _key(kind: Kind, pattern: str) -> Schema:
    return text(pattern, f"the key of a {kind} looks like {EXAMPLES[kind]}")


def _fields(names: Any) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def _other_than(names: list[str]) -> Schema:
    taken = patterns.whole("|".join(patterns.ignore_case(name) for name in names))
    return {"not": {"pattern": taken}}
