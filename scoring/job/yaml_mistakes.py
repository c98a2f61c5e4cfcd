"""Explanations of YAML syntax errors: the line where the error starts, and a correction.

A parser reports the position where it fails, which can be many lines after the unclosed quote or
bracket.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from scoring.errors import quoted

_KEY = re.compile(r"""\s*(?:-\s+)*(?:"[^"]*"|'[^']*'|[^\s:#"'{\[][^:#]*):(?:\s|$)""")
"""The beginning of a line that has a key, its colon and a space."""

_KEY_WITHOUT_SPACE = re.compile(r"\s*(?:-\s+)*([A-Za-z_][\w-]*):(\S.*)$")
_BEGINS_WITH_FIELD = re.compile(r"""(?:^|[\s,\[{])(\{+[^{}"']*\}+[^\s,}\]"'][^\s,"']*)""")
_CLOSING = {"[": "]", "{": "}"}
_SHOWN_CHARACTERS = 60

Found = tuple[int, str] | None
"""A line, from 0, and what is wrong there."""


@dataclass(frozen=True)
class _Failure:
    """Where the parser stopped; lines and columns count from 0."""

    text: str
    lines: list[str]
    problem: str
    line: int
    column: int
    index: int
    context: str
    context_line: int
    context_index: int
    loader: type

    @property
    def here(self) -> str:
        """The line at which the parser stopped."""
        return self.lines[self.line] if self.line < len(self.lines) else ""

    @property
    def character(self) -> str:
        """The character at which it stopped."""
        return self.text[self.index : self.index + 1]


def explain_yaml_error(error: yaml.MarkedYAMLError, text: str, loader: type) -> tuple[int, str]:
    """The line (from 1) where the mistake begins, and what it is, with the remedy."""
    problem, context = error.problem_mark or error.context_mark, error.context_mark
    if problem is None:
        return 1, str(error.problem)
    failure = _Failure(
        text=text,
        lines=text.splitlines(),
        problem=error.problem or "",
        line=problem.line,
        column=problem.column,
        index=problem.index,
        context=error.context or "",
        context_line=context.line if context else problem.line,
        context_index=context.index if context else problem.index,
        loader=loader,
    )
    for look in _LOOKS:
        found = look(failure)
        if found is not None:
            return found[0] + 1, found[1]
    return failure.line + 1, failure.problem


def _tab(failure: _Failure) -> Found:
    if re.match(r"[\s-]*\t", failure.here) and "scalar" not in failure.context:
        return failure.line, "it begins with a tab; indent it with spaces"
    return None


def _quote(failure: _Failure) -> Found:
    """A quote that is not closed, or only where another text was to begin."""
    if "quoted scalar" in failure.context:
        if "escape" in failure.problem or "hexdecimal" in failure.problem:
            return failure.line, (
                "a backslash in double quotes stands for a special character; write / in paths, or "
                "put the text in single quotes"
            )
        mark = failure.text[failure.context_index : failure.context_index + 1]
        return failure.context_line, f"the quote ({mark}) that begins here is not closed"
    for token in reversed(_tokens_before(failure)):
        if not isinstance(token, yaml.ScalarToken) or token.style not in ("'", '"'):
            continue
        first, last = token.start_mark.line, token.end_mark.line
        if first < last == failure.line:
            return first, (
                f"the quote ({token.style}) that begins here ends in line {last + 1}; close it in "
                "its own line"
            )
        break
    return None


def _tokens_before(failure: _Failure) -> list[yaml.Token]:
    found: list[yaml.Token] = []
    try:
        for token in yaml.scan(failure.text, Loader=failure.loader):
            if token.start_mark.index >= failure.index:
                break
            found.append(token)
    except yaml.YAMLError:
        pass  # the tokens up to there are what was wanted
    return found


def _field_without_quotes(failure: _Failure) -> Found:
    if "did not find expected" not in failure.problem and "mapping values" not in failure.problem:
        return None
    for found in _BEGINS_WITH_FIELD.finditer(failure.here):
        if found.start(1) < failure.column <= found.end(1):
            value = found[1].rstrip("]")  # as what it stands in is closed there
            if value.count("}") > value.count("{"):
                value = value.rstrip("}")
            return failure.line, f'a value that begins with {{ must be in quotes: "{_shown(value)}"'
    return None


def _bracket(failure: _Failure) -> Found:
    """A ``[`` or ``{`` that is not closed, or an entry without a comma before it."""
    if "while parsing a flow" not in failure.context:
        return None
    opening = failure.text[failure.context_index : failure.context_index + 1]
    closing = _CLOSING.get(opening, "")
    if failure.character in ("]", "}"):
        return failure.context_line, (
            f"the {opening} that begins here is closed by {failure.character}, and {closing} is "
            "needed"
        )
    if not _is_closed(failure.text[failure.context_index :]):
        return failure.context_line, f"the {opening} that begins here is not closed; add {closing}"
    before = failure.here[: failure.column].strip()
    line = failure.line
    if not before or (failure.character == ":" and re.fullmatch(r"[\w-]+", before)):
        line = _line_above(failure)
    return line, (
        "a comma is missing between two entries, or a value that has one of , : { } [ ] in it is "
        "not in quotes"
    )


def _is_closed(text: str) -> bool:
    """Whether the bracket that ``text`` begins with is closed in it."""
    depth = 0
    for found in re.finditer(
        r"""[\[{\]}]|"(?:[^"\\]|\\.)*"|(?<![\w])'(?:[^']|'')*'|(?<!\S)#[^\n]*""", text
    ):
        if found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1
            if depth == 0:
                return True
    return False


def _first_character(failure: _Failure) -> Found:
    """A value without quotes that begins with a character of YAML's own."""
    if "alias" in failure.context or "alias" in failure.problem:
        return failure.context_line, _must_be_quoted(failure, failure.context_index)
    if "anchor" in failure.context or "anchor" in failure.problem:
        return failure.context_line, _must_be_quoted(failure, failure.context_index)
    if "cannot start any token" in failure.problem:
        return failure.line, _must_be_quoted(failure, failure.index)
    if "block scalar" in failure.context:
        return failure.context_line, _must_be_quoted(failure, failure.context_index)
    if "directive" in failure.problem or "directive" in failure.context:
        return failure.line, "a line cannot begin with %; put the key in quotes, or remove it"
    if "tag" in failure.problem or "tag" in failure.context:
        return failure.context_line, "YAML tags (!) are not read; put the value in quotes"
    if "block sequence entries" in failure.problem:
        return failure.line, (
            "a list in one line is written [a, b]; with dashes, each entry is a line of its own"
        )
    return None


def _must_be_quoted(failure: _Failure, index: int) -> str:
    value = failure.text[index:].partition("\n")[0].partition(" #")[0].strip()
    if re.search(r"[\[{]", failure.text[:index].rpartition("\n")[2]):  # it is one of several values
        value = re.split(r"[,\]}]", value)[0]
    return f'a value that begins with {value[:1]} must be in quotes: "{_shown(value)}"'


def _colon(failure: _Failure) -> Found:
    """A line that is no ``key: value``, or two of them in one."""
    if "could not find expected ':'" in failure.problem:
        return failure.context_line, _no_key(failure.lines[failure.context_line])
    if "mapping values" not in failure.problem:
        return None
    if re.search(r":\s", failure.here[: failure.column]):
        return failure.line, (
            "a colon and a space within a value; put the value in quotes, or begin it in a line of "
            "its own if it is a section"
        )
    above = _line_above(failure)
    if above == failure.line or _KEY.match(failure.lines[above]):
        return failure.line, "it is indented deeper than the line above, which has a value already"
    return above, _no_key(failure.lines[above])


def _no_key(line: str) -> str:
    if found := _KEY_WITHOUT_SPACE.match(line):
        return f"a space is missing after the colon: `{_shown(f'{found[1]}: {found[2]}')}`"
    return (
        f"`{_shown(line.strip())}` is not `key: value`: a colon is missing, or it belongs to the "
        "text above and must be indented deeper than that text's key"
    )


def _line_above(failure: _Failure) -> int:
    """The nearest line above that has more than a comment; this one if there is none."""
    for number in range(failure.line - 1, -1, -1):
        stripped = failure.lines[number].strip()
        if stripped and not stripped.startswith("#"):
            return number
    return failure.line


def _beside(failure: _Failure) -> Found:
    """Something between two keys that is neither."""
    if (
        "did not find expected" not in failure.problem
        and "expected <block end>" not in failure.problem
    ):
        return None
    before = failure.here[: failure.column]
    if failure.character in ("]", "}"):
        if re.match(r"\s*(?:-\s+)*[A-Za-z_]\w*:[\[{]", failure.here):
            return failure.line, _no_key(failure.here)
        return failure.line, f"a {failure.character} that nothing opens"
    if failure.character == "-" and not before.strip():
        return failure.line, "a dash begins an entry of a list, and here is a section with keys"
    if not before.strip():
        return failure.line, (
            f"it is indented by {failure.column}, and that fits none of the keys above; keys of "
            "one section begin below each other"
        )
    if before.rstrip().endswith(("'", '"')):
        return failure.line, (
            "text after a closing quote; put the whole value in quotes (in single quotes, an "
            "apostrophe is written twice: '')"
        )
    return None


def _documents(failure: _Failure) -> Found:
    if "another document" in failure.problem:
        return failure.line, "a job file is one document; remove the line ---"
    return None


_LOOKS: list[Callable[[_Failure], Found]] = [
    _tab,
    _quote,
    _field_without_quotes,
    _bracket,
    _first_character,
    _colon,
    _beside,
    _documents,
]


def _shown(text: str) -> str:
    return quoted(text, _SHOWN_CHARACTERS)
