"""What an expression over one row may contain, and which columns it reads.

DuckDB's own syntax tree and function catalogue decide: what could see another row (an aggregate, a
window, a subquery), a clock, chance or a file is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_OF_ONE_ROW = {
    "BETWEEN",
    "CASE",
    "CAST",
    "COLLATE",
    "COLUMN_REF",
    "COMPARISON",
    "CONJUNCTION",
    "CONSTANT",
    "FUNCTION",
    "LAMBDA",
    "OPERATOR",
}
_REFUSED = {
    "PARAMETER": "a parameter, which has no value here",
    "STAR": "*, which stands for several columns",
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function, which depends on other rows",
}
_CLOCKS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
"""Functions that SQL calls without parentheses, so that they look like columns."""

_ARITHMETIC = {"+", "-", "*", "/", "//", "%", "abs", "ceil", "ceiling", "floor", "round"}
"""Functions whose value is the same number for an integer and for the float that is equal to it."""

_MACRO_DEPTH = 8


class ExpressionError(ValueError):
    """What is wrong with an expression, in one sentence."""


@dataclass(frozen=True)
class Columns:
    """The columns that an expression reads, in the order in which they first occur.

    ``by_type`` are those on whose stored type the value depends: 1 as an integer makes the text
    ``1``, as a float ``1.0``.
    """

    names: list[str]
    by_type: list[str]


def columns_of(expression: str, connection: DuckDBPyConnection) -> Columns:
    """Return the columns that ``expression`` reads.

    Raises ExpressionError unless it is one expression whose value depends on one row alone.
    """
    found = list(_references(_tree(expression, connection), connection))
    names = list(dict.fromkeys(name for name, _ in found))
    if clock := next((name for name in names if name.lower() in _CLOCKS), None):
        raise ExpressionError(f"{clock} is not allowed: {_volatile('its value')}")
    return Columns(names, list(dict.fromkeys(name for name, by_type in found if by_type)))


def _tree(expression: str, connection: DuckDBPyConnection) -> dict[str, Any]:
    # On lines of its own, so that a comment at its end does not swallow the parenthesis.
    answer = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT (\n{expression}\n)"])
    (text,) = answer.fetchone() or ("",)
    parsed = json.loads(text)
    if parsed["error"]:
        raise ExpressionError(f"not a SQL expression: {parsed['error_message']}")
    node = parsed["statements"][0]["node"]
    if len(parsed["statements"]) != 1 or node["type"] != "SELECT_NODE":
        raise ExpressionError("not one SQL expression")
    if len(node["select_list"]) != 1 or node["from_table"]["type"] != "EMPTY":
        raise ExpressionError("not one SQL expression over the columns of a row")
    tree: dict[str, Any] = node["select_list"][0]
    return tree


def _references(
    node: object,
    connection: DuckDBPyConnection,
    bound: frozenset[str] = frozenset(),
    depth: int = 0,
    by_type: bool = False,
) -> Iterator[tuple[str, bool]]:
    """Yield the columns that the tree ``node`` reads, but for the names that are ``bound`` in it,
    and whether the value depends on their stored types, as ``by_type`` says of the node itself.
    """
    if isinstance(node, list):
        for child in node:
            yield from _references(child, connection, bound, depth, by_type)
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None and kind not in _OF_ONE_ROW:
        what = _REFUSED.get(kind, f"{kind.lower().replace('_', ' ')}")
        raise ExpressionError(
            f"{what} is not allowed: an expression is over the columns of one row"
        )
    if kind == "COLUMN_REF":
        name = node["column_names"][0]
        if name not in bound:
            yield name, by_type
        return
    if kind == "LAMBDA":
        bound = bound | {name for name, _ in _references(node["lhs"], connection)}
        yield from _references(node["expr"], connection, bound, depth, by_type)
        return
    if kind == "FUNCTION":
        _check_function(node["function_name"], connection, depth)
        by_type = node["function_name"] not in _ARITHMETIC
    elif kind == "CAST":
        by_type = node["cast_type"]["id"] == "VARCHAR"
    elif kind == "COMPARISON":
        by_type = False
    for child in node.values():
        yield from _references(child, connection, bound, depth, by_type)


def _check_function(name: str, connection: DuckDBPyConnection, depth: int) -> None:
    """Raise ExpressionError unless the function's value depends on its arguments alone."""
    found = connection.execute(
        "SELECT function_type, stability, macro_definition, parameters FROM duckdb_functions() "
        "WHERE function_name = lower(?)",
        [name],
    ).fetchall()
    kinds = {kind for kind, *_ in found}
    if "aggregate" in kinds:
        raise ExpressionError(f"{name}() is an aggregate, which depends on other rows")
    if not kinds & {"scalar", "macro"}:
        unknown = "reads a table" if kinds else "is not a function of DuckDB"
        raise ExpressionError(f"{name}() {unknown}; an expression is over the columns of one row")
    if any(stability not in ("CONSISTENT", None) for _, stability, *_ in found):
        raise ExpressionError(f"{name}() is not allowed: {_volatile('its result')}")
    for definition, parameters in {(d, tuple(p)) for _, _, d, p in found if d is not None}:
        if depth == _MACRO_DEPTH:
            raise ExpressionError(f"{name}() is defined by functions that are nested too deep")
        tree = _tree(definition, connection)
        try:
            free = [*_references(tree, connection, frozenset(parameters), depth + 1)]
        except ExpressionError as error:
            raise ExpressionError(f"{name}() is not allowed: {error}") from None
        if free:
            raise ExpressionError(f"{name}() is not allowed: {_volatile('its result')}")


def _volatile(what: str) -> str:
    return f"{what} differs from call to call, so that a month could not be scored again"
