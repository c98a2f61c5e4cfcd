"""Parsing of a job file's YAML into values and their lines."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any, ClassVar

import yaml

from scoring.errors import JobError
from scoring.job.section import Loc
from scoring.job.yaml_mistakes import explain_yaml_error

# Small enough to parse or reject any file quickly.
TEXT_CHARACTERS = 10_000  # of one value
DEPTH = 30
VALUES = 20_000  # including the expansion of aliases


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML in which ``2013-05-07`` stays text: the keys of partitions are not dates."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse_yaml(path: Path, data: bytes) -> tuple[dict[str, Any], dict[Loc, int]]:
    """Return the values of a YAML text, and the line of each, from 1.

    Raises JobError, with the line where the mistake begins, for what is not a mapping in YAML.
    """
    text, _ = decode_yaml(path, data)
    try:
        _check_size(path, text)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            lines: dict[Loc, int] = {}
            if root is not None:
                _note_lines(loader, root, (), lines, path)
            values = loader.construct_document(root) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line, problem = explain_yaml_error(error, text, _Loader)
        raise _not_yaml(path, line, problem) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _not_yaml(path, line, f"{error.reason}; remove the character there") from None
    except (yaml.YAMLError, RecursionError, ValueError, KeyError, AttributeError) as error:
        raise JobError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        hint = ""
        if isinstance(values, str) and ":" in values:
            hint = "; a space is missing after the colon"
        raise JobError(
            f"{path}, line 1: a job file is a mapping of keys such as `name: my_job`{hint}"
        )
    return values, lines


def compose_yaml(text: str) -> yaml.Node:
    """Return the nodes of a YAML text that ``parse_yaml`` accepts: their marks say where they stand."""
    loader = _Loader(text)
    try:
        root: yaml.Node = loader.get_single_node()
        return root
    finally:
        loader.dispose()


def decode_yaml(path: Path, data: bytes) -> tuple[str, str]:
    """Return the text of a file and its encoding; JobError where it is not UTF-8 or UTF-16."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    if data.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_yaml(
            path, line, f"the byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def _not_yaml(path: Path, line: int, problem: str) -> JobError:
    return JobError(f"{path}, line {line}: not valid YAML: {problem}")


def _check_size(path: Path, text: str) -> None:
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


def _note_lines(
    loader: _Loader, node: yaml.Node, loc: Loc, lines: dict[Loc, int], path: Path
) -> None:
    line = node.start_mark.line + 1
    lines.setdefault(loc, line)
    if len(lines) > VALUES:
        raise JobError(
            f"{path}, line {line}: not a job file: more than {VALUES:,} values, "
            "counting what stands behind each alias (*)"
        )
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not key.tag.endswith((":str", ":merge")):
                raise JobError(f"{path}, line {line}: {_not_text(key)}")
            if key.value in seen:
                raise JobError(
                    f"{path}, line {line}: the key {key.value!r} is given twice, first in line "
                    f"{seen[key.value]}; remove one of them"
                )
            seen[key.value] = line
            lines[(*loc, key.value)] = line
            _note_lines(loader, value, (*loc, key.value), lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _note_lines(loader, item, (*loc, i), lines, path)
    else:
        _check_scalar(loader, node, line, path)


def _not_text(key: yaml.Node) -> str:
    if isinstance(key, yaml.MappingNode):
        return "the key here is not text; put it in quotes, and so a value that begins with {{"
    named = repr(key.value) if isinstance(key, yaml.ScalarNode) else "here"
    return f"the key {named} is not text; put it in quotes"


def _check_scalar(loader: _Loader, node: yaml.Node, line: int, path: Path) -> None:
    """JobError for a value that its YAML tag cannot have, or that no database takes for text."""
    if not node.tag.endswith(":str"):
        try:
            loader.construct_object(node)
        except (ValueError, KeyError, AttributeError, TypeError):
            # PyYAML's answer to a tag such as !!int before what is none, and to a number of 5,000
            # digits.
            kind = node.tag.rpartition(":")[2]
            raise _not_yaml(
                path,
                line,
                f"{node.value[:60]!r} cannot be read as {kind}; remove the tag, or quote it",
            ) from None
    elif "\0" in node.value or (not node.value.isascii() and _has_surrogate(node.value)):
        raise _not_yaml(path, line, "the text has a character that cannot be stored, such as \\0")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
