"""Reading a job file (YAML) so that every mistake is named with its line, its field and the remedy."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scoring.errors import JobError, quoted
from scoring.job.schema import Job
from scoring.job.section import Problem
from scoring.job.uri_templates import Roots

Loc = tuple[str | int, ...]

# Far more than a job needs, and so little that any file is read, or refused, in a moment.
FILE_BYTES = 256 << 10
TEXT_CHARACTERS = 10_000  # of one value
DEPTH = 30
VALUES = 20_000  # with what stands behind each alias
SHOWN_CHARACTERS = 200  # of a value in a message


@dataclass(frozen=True)
class JobFile:
    """A job and the file it was read from; ``sha256`` is of the file's bytes.

    ``lines`` says on which line (from 1) each value stands.
    """

    job: Job
    path: Path
    sha256: str
    lines: Mapping[Loc, int] = field(default_factory=lambda: {(): 1}, compare=False, repr=False)

    def error(self, loc: Loc, message: str) -> JobError:
        """What is wrong at ``loc``, told as the mistakes are that this module finds."""
        return JobError(_render(self.path, [(loc, message)], self.lines))

    def roots(self, data: str | None = None) -> Roots:
        """The roots of this job's URIs: relative ones start from the job file's folder."""
        return Roots.of(self.path.parent, data)

    @property
    def scorer_path(self) -> Path | None:
        return self.path.parent / self.job.scorer if self.job.scorer else None


def load_job(path: str | os.PathLike[str]) -> JobFile:
    """The job in the file at ``path``, or JobError naming each mistake's line and field."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None
    if len(text) > FILE_BYTES:
        raise JobError(f"{path} is larger than a job file may be, {FILE_BYTES >> 10} KiB")
    values, lines = _parse(path, text)
    try:
        job = Job.model_validate(values)
        problems = [*_place_problems(job, path), *job.problems()]
    except ValidationError as error:
        job, problems = None, _explain_all(error.errors(), values)
    if job is None or problems:
        raise JobError(_render(path, problems, lines))
    return JobFile(job, path.absolute(), hashlib.sha256(text).hexdigest(), lines)


def _place_problems(job: Job, path: Path) -> Iterator[Problem]:
    # So no two files of a folder have the same job, and whoever looks for a job knows its file.
    if job.name != path.stem:
        remedy = f"call the file {job.name}{path.suffix}, or the job {path.stem}"
        yield ("name",), f'"{job.name}" is not the name of the file, {path.name}; {remedy}'
    if job.scorer and (Path(job.scorer).is_absolute() or ".." in Path(job.scorer).parts):
        yield ("scorer",), f"{job.scorer!r} is not in the job file's folder, or in one below it"


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML in which ``2013-05-07`` stays text: the keys of partitions are not dates."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _parse(path: Path, text: bytes) -> tuple[Any, dict[Loc, int]]:
    """The values of a YAML text, and the line (from 1) on which each of them stands."""
    try:
        _check_size(path, text)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            lines: dict[Loc, int] = {}
            if root is not None:
                _note_lines(root, (), lines, path)
            values = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise JobError(f"{path}, line {line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError, KeyError, AttributeError) as error:
        # The last three are PyYAML's answer to a tag such as !!int before what is none.
        raise JobError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise JobError(f"{path}, line 1: a job file is a mapping of keys such as `name: my_job`")
    return values, lines


def _check_size(path: Path, text: bytes) -> None:
    """JobError for what is too deep or too long; seen before anything is built of it.

    PyYAML's C code follows nested values by recursion, and crashes the process where they are deep.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        too_long = isinstance(event, yaml.ScalarEvent) and len(event.value) > TEXT_CHARACTERS
        if depth > DEPTH or too_long:
            limit = (
                f"a text of more than {TEXT_CHARACTERS:,} characters"
                if too_long
                else f"values within values, more than {DEPTH} deep"
            )
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise JobError(f"{path}, line {line}: not a job file: {limit}")


def _note_lines(node: yaml.Node, loc: Loc, lines: dict[Loc, int], path: Path) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if len(lines) > VALUES:
        raise JobError(
            f"{path}, line {node.start_mark.line + 1}: not a job file: more than {VALUES:,} values, "
            "counting what stands behind each alias (*)"
        )
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not key.tag.endswith((":str", ":merge")):
                named = repr(key.value) if isinstance(key, yaml.ScalarNode) else "here"
                raise JobError(
                    f"{path}, line {line}: the key {named} is not text; put it in quotes"
                )
            if key.value in seen:
                raise JobError(f"{path}, line {line}: the key {key.value!r} is given twice")
            seen.add(key.value)
            lines[(*loc, key.value)] = line
            _note_lines(value, (*loc, key.value), lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _note_lines(item, (*loc, i), lines, path)


def _explain_all(errors: list[ErrorDetails], values: Any) -> list[Problem]:
    """One problem for each place; a value of several kinds has one error for each of the kinds."""
    told: dict[Loc, str] = {}
    for details in errors:
        loc, message = _explain(details, values)
        told[loc] = f"{told[loc]}, or {message}" if loc in told else message
    return list(told.items())


def _explain(details: ErrorDetails, values: Any) -> Problem:
    """One of Pydantic's errors in the words of a job file."""
    loc, kind, context = details["loc"], details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return loc, _unknown_key(loc)
    if kind == "missing":
        return loc, "missing; it must be given"
    loc = _within(loc, values)
    stands = quoted(json.dumps(details["input"], default=str), SHOWN_CHARACTERS)
    if kind == "literal_error":
        close = difflib.get_close_matches(str(details["input"]), _literals(context), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return loc, f"{stands} is not allowed; it may be {context['expected']}{hint}"
    if kind == "string_pattern_mismatch" and "sha256" in loc:
        return loc, f"{stands} is no SHA-256 digest: 64 hexadecimal digits in lower case"
    if kind == "value_error":
        return loc, str(context["error"])
    message = details["msg"].removeprefix("Input ").replace("dictionary", "mapping")
    hint = "; put it in quotes" if kind == "string_type" and _is_scalar(details["input"]) else ""
    return loc, f"{stands} {message}{hint}"


def _within(loc: Loc, values: Any) -> Loc:
    """The part of ``loc`` that is in the file; Pydantic goes on with the kinds that it tried."""
    for i, step in enumerate(loc):
        try:
            values = values[step]
        except (LookupError, TypeError):
            return loc[:i]
    return loc


def _literals(context: dict[str, Any]) -> list[str]:
    return [word.strip("' ") for word in context["expected"].replace(" or ", ",").split(",")]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float | bool)


def _unknown_key(loc: Loc) -> str:
    known = _known_keys(loc[:-1])
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown key{hint} (known here: {', '.join(known)})"


def _known_keys(loc: Loc) -> list[str]:
    """The keys that may stand in the section at ``loc``."""
    model: type[BaseModel] = Job
    for step in loc:
        if isinstance(step, str) and step in model.model_fields:
            model = _section_of(model.model_fields[step].annotation) or model
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as ``Model | None`` or ``dict[str, Column]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _section_of(inner):
            return found
    return None


def _render(path: Path, problems: list[Problem], lines: Mapping[Loc, int]) -> str:
    counted = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    rows = sorted((_line_of(loc, lines), _dotted(loc), message) for loc, message in problems)
    told = "\n".join(f"  line {line}, {field}: {message}" for line, field, message in rows)
    return f"{path} is not a valid job file ({counted}):\n{told}"


def _line_of(loc: Loc, lines: Mapping[Loc, int]) -> int:
    while loc not in lines:
        loc = loc[:-1]
    return lines[loc]


def _dotted(loc: Loc) -> str:
    text = ""
    for step in loc:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{quoted(step, SHOWN_CHARACTERS)}"
    return text.removeprefix(".")
