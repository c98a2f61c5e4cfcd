"""Translation of Pydantic's errors: the value, what is allowed, and a correction."""

from __future__ import annotations

import difflib
from contextlib import suppress
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from scoring.job import shorthand
from scoring.job.schema import Job
from scoring.job.section import Loc, Problem


def explain_all(errors: list[ErrorDetails], values: Any) -> list[Problem]:
    """Return one problem per location; Pydantic reports one for each member of a union."""
    found: dict[Loc, list[str]] = {}
    hints: dict[Loc, str] = {}
    for details in errors:
        loc, message, hint = _explain(details, values)
        found.setdefault(loc, []).append(message)
        hints.setdefault(loc, hint)
    return [
        (loc, ", or ".join(messages) + (f"; {hints[loc]}" if hints[loc] else ""))
        for loc, messages in found.items()
    ]


def _explain(details: ErrorDetails, values: Any) -> tuple[Loc, str, str]:
    """Return location, message and correction for one of Pydantic's errors."""
    loc, kind, context = details["loc"], details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return loc, *_unknown_key(loc, values)
    if kind == "missing":
        return loc, "missing; this key is required", ""
    loc, value = _within(loc, values), details["input"]
    stands = shorthand.shown(value)
    if kind == "literal_error":
        allowed = _literals(context)
        close = shorthand.closest(value, allowed)
        close = close or next(iter(difflib.get_close_matches(str(value), allowed, n=1)), None)
        hint = f"did you mean {close}?" if close else ""
        return loc, f"{stands} is not allowed; valid values: {context['expected']}", hint
    if kind == "string_pattern_mismatch" and "sha256" in loc:
        return loc, f"{stands} is not a SHA-256 digest: 64 hexadecimal digits in lower case", ""
    if kind == "string_pattern_mismatch" and loc[-2:] == ("environment", "python"):
        return loc, f'{stands} should be of the form "3.9", and at least 3.8', ""
    if kind == "value_error":
        return loc, str(context["error"]), ""
    message = details["msg"].removeprefix("Input ").replace("dictionary", "mapping")
    message = message.partition(" or instance of ")[0]
    return loc, f"{stands} {message}", shorthand.hint(loc, kind, value)


def _within(loc: Loc, values: Any) -> Loc:
    """Return the part of ``loc`` that is in the file, without the union members that Pydantic adds."""
    found: list[str | int] = []
    for step in loc:
        with suppress(LookupError, TypeError):
            values = values[step]
            found.append(step)
    return tuple(found)


def _literals(context: dict[str, Any]) -> list[str]:
    return [word.strip("' ") for word in context["expected"].replace(" or ", ",").split(",")]


def _unknown_key(loc: Loc, values: Any) -> tuple[str, str]:
    name, known = str(loc[-1]), _known_keys(loc[:-1])
    before, colon, _ = name.partition(":")
    close = difflib.get_close_matches(name, known, n=1)
    if colon and before in known:
        hint = f"; a space is missing after the colon of {before}:"
    elif section := _section_without_value(name, loc, values):
        hint = f"; indent it, if it belongs to {section}"
    elif close:
        hint = f"; did you mean {close[0]!r}?"
    else:
        section = _section_with(name) if len(loc) == 1 else None
        hint = f"; it belongs to {section}" if section else ""
    return f"unknown key{hint} (known here: {', '.join(known)})", ""


def _section_with(name: str) -> str | None:
    """Return the section of a job that has the key ``name``."""
    sections = {key: _section_of(field.annotation) for key, field in Job.model_fields.items()}
    return next(
        (k for k, section in sections.items() if section and name in section.model_fields), None
    )


def _section_without_value(name: str, loc: Loc, values: Any) -> str | None:
    """Return the empty section next to ``name`` that has this key."""
    try:
        for step in loc[:-1]:
            values = values[step]
        empty = [key for key, value in values.items() if value is None]
    except (LookupError, TypeError, AttributeError):
        return None
    sections = (key for key in empty if name in _known_keys((*loc[:-1], key)))
    return next((key for key in sections if key not in _known_keys((*loc[:-1], key))), None)


def _known_keys(loc: Loc) -> list[str]:
    """Return the keys of the section at ``loc``."""
    model: type[BaseModel] = Job
    for step in loc:
        if isinstance(step, str) and step in model.model_fields:
            model = _section_of(model.model_fields[step].annotation) or model
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section class in an annotation such as ``Model | None`` or ``dict[str, Column]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _section_of(inner):
            return found
    return None
