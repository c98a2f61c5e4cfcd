"""The query of a SQL source: its rules, and its parameters in the paramstyle of a driver.

A query is split into quoted text, comments, words and parameters, without further parsing.  It is
sent to the database unchanged, except for ``:start`` and the other parameters.  It is
read whenever Airflow parses a Dag file, so this module imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

PARAMETERS = ("start", "end", "partition")
"""The parameters of a query: the partition's interval, ``start`` <= t < ``end``, and its key."""

_TOKEN = re.compile(
    r"""
      (?P<verbatim> [eE]'(?:[^'\\]|\\.|'')*'              # a string with backslashes (Postgres)
                  | '(?:[^']|'')*'                        # a string
                  | "(?:[^"]|"")*" | `[^`]*`              # a quoted name
                  | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$  # a string between dollars (Postgres)
                  | --[^\n]*                              # a comment to the end of its line
                  | :: | :=                               # a cast, an assignment
                  | \d[\w.]* )
    | (?P<comment> /\* )
    | (?<![\w:)\]"]) : (?P<parameter> [^\W\d]\w* )        # after a word it is a path or a slice
    | (?P<word> [^\W\d][\w$]* )
    | (?P<positional> \$\d+ )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
JINJA = re.compile(
    r"\{\{-?\s*(?:ds|ts|data_interval_|logical_date|execution_date|params|var|macros|dag_run|run_id|"
    r"prev_|next_|ti\b|task_instance|conn\b|partition|start|end|year|month)[\s\S]*?\}\}|\{%[\s\S]*?%\}"
)
"""A template with a name that Airflow knows: ``{{1,2},{3,4}}`` may stand in a query."""

_COMMENT_ENDS = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class _Token:
    kind: str  # verbatim, comment, parameter, word, positional or other
    text: str  # of a parameter: its name


def check_query(sql: str) -> str:
    """Return ``sql``; raise ValueError unless it is a valid query of a source."""
    if found := JINJA.search(sql):
        raise ValueError(
            f"{found[0]} is a Jinja template, which is not rendered here; write :start, :end or "
            ":partition, without quotes"
        )
    tokens = list(_tokens(sql))
    for token in tokens:
        if token.kind == "parameter" and token.text not in PARAMETERS:
            known = ", ".join(f":{name}" for name in PARAMETERS)
            raise ValueError(f":{token.text} is not a parameter of a query; known: {known}")
        if token.kind == "positional":
            raise ValueError(
                f"{token.text} is not a parameter of a query; write :start, :end, :partition"
            )
        if token.text == ";":
            raise ValueError("a query is one statement, without ';'")
    top = [token.text.upper() for token in _outside_parentheses(tokens)]
    if not top or top[0] not in ("SELECT", "WITH"):
        raise ValueError("a query begins with SELECT or WITH")
    if ("ORDER", "BY") not in pairwise(top):
        raise ValueError(
            "a query must end with ORDER BY and columns that identify a row: the order of rows is "
            "part of the published bytes"
        )
    return sql


def parameters_of(sql: str) -> set[str]:
    """The names of the parameters in a query that ``check_query`` has accepted."""
    return {token.text for token in _tokens(sql) if token.kind == "parameter"}


def render_paramstyle(sql: str, style: str) -> tuple[str, list[str]]:
    """``sql`` with its parameters in ``style``, and the names of the values in the driver's order.

    Styles are those of PEP 249 (``qmark``, ``numeric``, ``named``, ``format``, ``pyformat``) and
    ``dollar`` (``$1``).  In ``qmark`` and ``format`` a name comes once for each place, in the
    others once.
    """
    places: Callable[[str, int], str] = _STYLES[style]
    repeated = style in ("qmark", "format")
    escaped = style in ("format", "pyformat")
    names: list[str] = []
    parts = []
    for token in _tokens(sql):
        if token.kind != "parameter":
            parts.append(token.text.replace("%", "%%") if escaped else token.text)
            continue
        if repeated or token.text not in names:
            names.append(token.text)
        parts.append(places(token.text, names.index(token.text) + 1))
    return "".join(parts), names


_STYLES: dict[str, Callable[[str, int], str]] = {
    "qmark": lambda name, number: "?",
    "format": lambda name, number: "%s",
    "numeric": lambda name, number: f":{number}",
    "dollar": lambda name, number: f"${number}",
    "named": lambda name, number: f":{name}",
    "pyformat": lambda name, number: f"%({name})s",
}


def _tokens(sql: str) -> Iterator[_Token]:
    at = 0
    while at < len(sql):
        found = _TOKEN.match(sql, at)
        assert found is not None  # ``other`` is any character
        kind, end = str(found.lastgroup), found.end()
        if kind == "comment":
            end = _end_of_comment(sql, at)
        text = found["parameter"] if kind == "parameter" else sql[at:end]
        if kind == "other" and text in ("'", '"', "`"):
            line = sql.count("\n", 0, at) + 1
            raise ValueError(f"the {text} in line {line} of the query is not closed")
        yield _Token(kind, text)
        at = end


def _end_of_comment(sql: str, start: int) -> int:
    """Where a comment ends that begins at ``start``; comments may hold comments."""
    depth = 0
    for mark in _COMMENT_ENDS.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    raise ValueError("a comment of the query, /*, is not closed")


def _outside_parentheses(tokens: list[_Token]) -> Iterator[_Token]:
    """The words and other marks that stand in no parentheses; an opening one stands for its
    content.
    """
    depth = 0
    for token in tokens:
        if token.kind not in ("word", "other", "parameter") or token.text.isspace():
            continue
        if token.text == ")":
            depth -= 1
        elif depth == 0:
            yield token
        if token.text == "(":
            depth += 1
