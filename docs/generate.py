"""Writes what the documentation takes from the code: tables of jobs.md and the JSON schema of a job
file.

``make docs`` runs it.  A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from scoring.job.actuals import ActualsConfig
from scoring.job.alert import AlertConfig
from scoring.job.checks import ChecksConfig, DriftConfig, HoldConfig
from scoring.job.destination import DestinationConfig
from scoring.job.inputs import ColumnConfig
from scoring.job.json_schema import job_schema
from scoring.job.model import ArtifactConfig, EnvironmentConfig, ModelConfig, ModelVersionConfig
from scoring.job.output import OutputConfig
from scoring.job.partitions import EXAMPLES, parse_key
from scoring.job.run import RunConfig
from scoring.job.schedule import FITTING
from scoring.job.schema import Job
from scoring.job.section import Section
from scoring.job.source import SourceConfig, WaitConfig
from scoring.job.uri_templates import ROOT_FIELDS

FOLDER = Path(__file__).parent

SECTIONS: dict[str, type[Section]] = {
    "job": Job,
    "source": SourceConfig,
    "source.wait": WaitConfig,
    "inputs": ColumnConfig,
    "model": ModelConfig,
    "model.versions": ModelVersionConfig,
    "model.versions.environment": EnvironmentConfig,
    "model.files": ArtifactConfig,
    "output": OutputConfig,
    "destination": DestinationConfig,
    "checks": ChecksConfig,
    "checks.drift": DriftConfig,
    "checks.drift.hold": HoldConfig,
    "actuals": ActualsConfig,
    "run": RunConfig,
    "alerts": AlertConfig,
}
"""The sections of a job file, each with a heading of this name in jobs.md."""

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", JsonValue: "any value"}
_ITEMS = {
    ColumnConfig: "[column](#inputs)",
    ModelVersionConfig: "[versions](#modelversions)",
    AlertConfig: "[alerts](#alerts)",
    ArtifactConfig: "[file](#modelfiles)",
}
_GENERATED = re.compile(r"<!-- generated: ([a-z. -]+) -->\n.*?<!-- end -->\n", re.DOTALL)


def generated_files() -> dict[Path, str]:
    """Return the contents of all generated files by path."""
    page = FOLDER / "jobs.md"
    schema = json.dumps(job_schema(installed=False), indent=2, ensure_ascii=False)
    return {
        page: fill(page.read_text(encoding="utf-8")),
        FOLDER / "job.schema.json": schema + "\n",
    }


def fill(text: str) -> str:
    """Return ``text`` with all generated blocks replaced; KeyError for an unknown block."""
    return _GENERATED.sub(
        lambda found: f"<!-- generated: {found[1]} -->\n\n{BLOCKS[found[1]]()}\n<!-- end -->\n",
        text,
    )


def fields_table(section: type[Section]) -> str:
    """Return the fields of ``section``: type, default, description with limits."""
    rows = (
        (
            f"`{name}`",
            _type_of(field.annotation, section=name),
            _default(field),
            _description(field),
        )
        for name, field in section.model_fields.items()
    )
    return _table(("field", "type", "default", "description"), rows)


def partitions_table() -> str:
    notes = {
        "week": ", an ISO 8601 week, Monday to Sunday",
        "hour": ", with the UTC offset",
    }
    rows = (
        (f"`{kind}`", f"`{key}`{notes.get(kind, '')}", f'`"{FITTING[kind]}"`')
        for kind, key in EXAMPLES.items()
    )
    return _table(("`partition`", "key", "example of a schedule"), rows)


def uri_fields_table() -> str:
    hour = parse_key(EXAMPLES["hour"], "hour", ZoneInfo("America/New_York"))
    notes = {"year": "; for weeks the ISO year", "partition": ", the key"}
    rows = [(f"`{{{name}}}`", meaning) for name, meaning in ROOT_FIELDS.items()]
    rows += [
        (f"`{{{name}}}`", f"`{value}`{notes.get(name, '')}")
        for name, value in hour.uri_fields.items()
    ]
    return _table(("field", "value"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    **{name: partial(fields_table, section) for name, section in SECTIONS.items()},
    "partitions": partitions_table,
    "uri fields": uri_fields_table,
}


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines) + "\n"


def _type_of(annotation: Any, section: str = "") -> str:
    """Return what the tables call a type; ``section`` is the heading of a nested section."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _TYPES:
        return _TYPES[annotation]
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _type_of(inner[0], section)
    if origin is Literal:
        return _listed([f"`{value}`" for value in inner])
    if origin is list:
        return f"list of {_ITEMS.get(inner[0]) or _plural(_type_of(inner[0]))}"
    if origin is dict:
        return f"mapping of string to {_ITEMS.get(inner[1]) or _type_of(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        heading = next(name for name, known in SECTIONS.items() if known is annotation)
        return f"[section](#{heading.replace('.', '')})"
    kinds = [kind for kind in inner if kind is not NoneType]
    if len(kinds) == 1:
        return _type_of(kinds[0], section)
    if {int, float} <= set(kinds):
        kinds.remove(int)  # a number may be an integer
    return _listed([_type_of(kind, section) for kind in kinds])


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0]


def _plural(words: str) -> str:
    return re.sub(r"\w+(?=,| or |$)", r"\g<0>s", words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, BaseModel):
        return "its defaults"
    if isinstance(field.default, list) and field.default:
        return f"`[{', '.join(field.default)}]`"
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f"`{value}`" if value != "" else '`""`'


def _description(field: FieldInfo) -> str:
    assert field.description, "every field of a job file needs a description"
    return " ".join([field.description, *_limits(field)])


def _limits(field: FieldInfo) -> list[str]:
    """Return the limits of a field in sentences."""
    found = _constraints(field.metadata)
    sentences = []
    low, above, high = (found.get(name) for name in ("ge", "gt", "le"))
    if high is not None:
        lower = f"From {_figure(low)} to" if above is None else f"Above {_figure(above)}, at most"
        sentences.append(f"{lower} {_figure(high)}.")
    if "max_length" in found:
        sentences.append(f"At most {_figure(found['max_length'])} characters.")
    elif found.get("min_length") == 1:
        is_text = get_origin(field.annotation) not in (list, dict)
        sentences.append("Not empty." if is_text else "At least one.")
    for inner in get_args(field.annotation):
        each = _constraints(getattr(inner, "__metadata__", ()))
        if "max_length" in each:
            low, high = each["min_length"], each["max_length"]
            sentences.append(f"Each of {_figure(low)} to {_figure(high)} characters.")
    return sentences


def _constraints(metadata: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            found |= _constraints(item.metadata)
        for name in ("ge", "gt", "le", "min_length", "max_length"):
            if (value := getattr(item, name, None)) is not None:
                found[name] = value
    return found


def _figure(value: Any) -> str:
    return f"{value:,}"


def main() -> None:
    """Write the generated files that differ."""
    for path, text in generated_files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main()
