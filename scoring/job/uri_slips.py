"""Syntax of other tools in URIs, which is not expanded here: ``%Y``, ``$HOME``, …

Such a URI names a file that is never there, or the same one for every partition.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

_JINJA = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}|\{%.*?%\}|\{#.*?#\}|\{\{")
_JINJA_FIELDS = {
    "ds": "{year}-{month}-{day}",
    "ds_nodash": "{year}{month}{day}",
    "ts": "{partition}",
    "run_id": "{partition}",
}
_STRFTIME_FIELDS = {
    "Y": "{year}",
    "y": "{year}",
    "G": "{year}",
    "m": "{month}",
    "b": "{month}",
    "B": "{month}",
    "V": "{week}",
    "W": "{week}",
    "U": "{week}",
    "d": "{day}",
    "e": "{day}",
    "H": "{hour}",
    "F": "{year}-{month}-{day}",
}
STRFTIME = re.compile(r"%(?![0-9A-Fa-f]{2})[-_0^#E]?([aAbBcdDeFgGHIjklmMpPrRsSTuUVwWxXyYzZ])")
"""A code of ``strftime``: a percent sign that no two hexadecimal digits follow, as in ``%20``."""

CURLY_VARIABLE = r"\$\{[^}]*\}?|\$\([^)]*\)?"
VARIABLE = re.compile(rf"{CURLY_VARIABLE}|\$[A-Za-z_]\w*|%[A-Z][A-Z_]{{2,}}%")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
KNOWN_SCHEMES = "s3|s3a|https?|file|gs|gcs|abfss?|az|hdfs|s?ftp"
"""The schemes that are recognized where the slashes are missing: ``s3:bucket``."""

_DRIVE = re.compile(r"(?:file:/*)?[A-Za-z]:[\\/](?!/)")

_ALIASES = {
    "yyyy": "year",
    "yy": "year",
    "y": "year",
    "mm": "month",
    "m": "month",
    "dd": "day",
    "d": "day",
    "hh": "hour",
    "h": "hour",
    "ww": "week",
    "w": "week",
    "date": "partition",
    "ds": "partition",
    "key": "partition",
    "start": "partition",
    "data_interval_start": "partition",
    "logical_date": "partition",
    "execution_date": "partition",
    "job": "data",
}
"""What others call the fields."""


def check_slips(template: str, known: Sequence[str]) -> None:
    """Raise ValueError, with a correction, for syntax that other tools expand.

    ``known`` are the fields that may stand in ``template``.
    """
    if found := _JINJA.search(template):
        raise ValueError(
            f"{found[0]} is a Jinja template, which is not rendered here; write "
            f"{_in_place_of_jinja(found[1] or '', known)}, in single braces"
        )
    check_unexpanded(template)
    if codes := [found[0] for found in STRFTIME.finditer(template)]:
        raise ValueError(_in_place_of_strftime(list(dict.fromkeys(codes)), known))


def check_unexpanded(text: str) -> None:
    """Raise ValueError for syntax that a shell or Windows expands."""
    if found := _CONTROL.search(text):
        raise ValueError(
            f"has the control character {found[0]!r}, an escape sequence in double quotes; write / "
            "in paths"
        )
    if _DRIVE.match(text) or "\\" in text:
        raise ValueError(
            "is a Windows path, but Airflow's workers do not run on Windows; write a path with /, "
            "such as {data}/…"
        )
    if home := re.match(r"(?:file:/*)?(~[^/]*)", text):
        raise ValueError(
            f"{home[1]} is not expanded, because the home folder depends on the process; write an "
            "absolute path, or {data}/…"
        )
    query = text.partition("?")[2] if text.startswith("https://") else ""
    # A query such as ?$limit=5 is the server's own.
    found = VARIABLE.search(text.removesuffix(query)) or re.search(CURLY_VARIABLE, query)
    if found:
        raise ValueError(
            f"{found[0]} is not expanded; use {{data}} (SCORING_DATA) or {{models}} "
            "(SCORING_MODELS), or write the path"
        )


def _in_place_of_jinja(expression: str, known: Sequence[str]) -> str:
    name = re.split(r"\W", expression.strip(), maxsplit=1)[0]
    if "partition" in known and name in _JINJA_FIELDS:
        return _JINJA_FIELDS[name]
    if name in known:
        return f"{{{name}}}"
    return " ".join(f"{{{field}}}" for field in known)


def _in_place_of_strftime(codes: list[str], known: Sequence[str]) -> str:
    if "partition" not in known:
        return (
            f"{' '.join(codes)} is a date format, and this is one URI for all partitions; remove it"
        )
    pairs = [
        f"{_STRFTIME_FIELDS[code[-1]]} for {code}" for code in codes if code[-1] in _STRFTIME_FIELDS
    ]
    instead = ", ".join(pairs) or "{partition}"
    return f"{' '.join(codes)} is a date format, which is not expanded here; write {instead}"


def close_field(name: str, known: Sequence[str]) -> str | None:
    """Return the field in ``known`` that is most similar to ``name``, or None."""
    lower = name.strip().lower()
    if lower in known:
        return lower
    if _ALIASES.get(lower) in known:
        return _ALIASES[lower]
    return next(iter(difflib.get_close_matches(lower, known, n=1)), None)
