"""What a request has to look like, for people and programs: generated from the job's contract."""

from __future__ import annotations

from typing import Any

from scoring.job.inputs import ColumnConfig
from scoring.serving.jobs import ServedJob
from scoring.serving.scorer import RequestScorer, outputs_of

PROBLEM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["title", "status", "detail"],
}

ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "job": {"type": "string"},
        "model_version": {"type": "string"},
        "model_sha256": {"type": "string"},
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer", "minimum": 1},
                    "status": {"enum": ["scored", "quarantined", "left_out"]},
                    "reason": {"type": "string"},
                    "column": {"type": ["string", "null"]},
                    "value": {"type": ["string", "null"]},
                },
                "required": ["row", "status"],
            },
        },
    },
    "required": ["job", "model_version", "model_sha256", "rows"],
}
"""The JSON schema of an answer."""

_EXAMPLES = {
    "string": "text",
    "boolean": True,
    "timestamp": "2013-05-07T03:00:00Z",
    "date": "2013-05-07",
}
_FORMATS = {"timestamp": "date-time", "date": "date"}


def row_schema(scorer: RequestScorer) -> dict[str, Any]:
    """Return the JSON schema of one row.

    A row that does not keep to the limits of a column is answered with the reason; one without a
    column is an error.
    """
    columns, job = scorer.columns, scorer.job
    return {
        "type": "object",
        "properties": {
            name: _column(columns.types.get(name), name in job.inputs) for name in columns.names
        },
        "required": columns.names,
        "additionalProperties": True,
        "example": example_row(scorer),
    }


def example_row(scorer: RequestScorer) -> dict[str, Any]:
    """Return a row that keeps to the contract."""
    columns = scorer.columns
    return {name: _example(columns.types.get(name)) for name in columns.names}


def _example(config: ColumnConfig | None) -> Any:
    if config is None:
        return "A1"
    if config.allowed:
        return config.allowed[0]
    if not config.is_number:
        return _EXAMPLES[config.type]
    limits = [limit for limit in (config.min, config.max) if limit is not None]
    number = limits[0] if limits else 1
    return int(number) if config.type.startswith("int") else float(number)


def _column(config: ColumnConfig | None, is_input: bool) -> dict[str, Any]:
    if config is None:
        return {"description": "any value of JSON; it is repeated in the answer"}
    found: dict[str, Any] = {"type": [_json_type(config), "null"]}
    if config.type in _FORMATS:
        found["format"] = _FORMATS[config.type]
    if config.min is not None:
        found["minimum"] = config.min
    if config.max is not None:
        found["maximum"] = config.max
    if config.allowed is not None:
        found["enum"] = [*config.allowed, None]
    if is_input and not config.nullable:
        found["description"] = "a row with null here gets no prediction"
    return found


def _json_type(config: ColumnConfig) -> str:
    if config.type.startswith("int"):
        return "integer"
    if config.type.startswith("float"):
        return "number"
    return "boolean" if config.type == "boolean" else "string"


def about(served: ServedJob) -> dict[str, Any]:
    """Return what there is to know about a job before one asks it for predictions."""
    scorer, job = served.in_force, served.job_file.job
    return {
        "job": job.name,
        "description": job.description,
        "in_force": {"version": scorer.file.version, "sha256": scorer.file.sha256},
        "versions": job.version_names,
        "row_id": job.id_columns,
        "outputs": outputs_of(job),
        "keep": job.output.keep,
        "row": row_schema(scorer),
        "answer": ANSWER,
    }
