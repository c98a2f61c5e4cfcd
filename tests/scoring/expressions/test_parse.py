"""What an expression over one row may contain, by DuckDB's own syntax tree and catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from scoring.expressions.parse import ExpressionError, columns_of


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as found:
        yield found


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("a < 1", ["a"]),
        ("date_diff('second', picked, dropped) / 60.0", ["picked", "dropped"]),
        ("a || '_' || b", ["a", "b"]),
        ('"two words" + "TWO" - a', ["two words", "TWO", "a"]),
        ("TRY_CAST(a AS DOUBLE)", ["a"]),
        ("a::VARCHAR", ["a"]),
        ("coalesce(a, b, 0)", ["a", "b"]),
        ("CASE WHEN a THEN b ELSE c END", ["a", "b", "c"]),
        ("a BETWEEN 1 AND 2 OR b IS NULL AND NOT c", ["a", "b", "c"]),
        ("a IN (1, 2) OR a LIKE 'x%'", ["a"]),
        ("regexp_matches(a, '^[0-9]+$')", ["a"]),
        ("s.field.inner", ["s"]),
        ("list_filter(l, x -> x > a)", ["l", "a"]),
        ("list_sum(l) + l[1]", ["l"]),
        ("split_part(a, ',', 2)", ["a"]),  # a macro of functions of one row
        ("strftime(picked, '%H')", ["picked"]),
        ("a -- a comment at the end", ["a"]),
        ("1", []),
    ],
)
def test_the_columns_of_an_expression_over_one_row(
    connection: duckdb.DuckDBPyConnection, expression: str, columns: list[str]
):
    assert columns_of(expression, connection).names == columns


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("sum(a)", r"sum\(\) is an aggregate"),
        ("a / (count(*))", "is an aggregate"),
        ("a - avg(a) OVER ()", "a window function"),
        ("row_number() OVER (ORDER BY a)", "a window function"),
        ("lag(a) OVER ()", "a window function"),
        ("(SELECT 1)", "a subquery"),
        ("a IN (SELECT b FROM other)", "a subquery"),
        ("EXISTS (SELECT 1)", "a subquery"),
        ("random() < 0.5", r"random\(\) is not allowed"),
        ("a + RANDOM()", "differs from call to call"),
        ("now() - a", r"now\(\) is not allowed"),
        ("today()", "differs from call to call"),
        ("ago(INTERVAL 1 DAY)", "differs from call to call"),  # a macro that asks the clock
        ("current_date", "current_date is not allowed"),
        ("a < CURRENT_TIMESTAMP", "is not allowed"),
        ("uuid()", "differs from call to call"),
        ("nextval('s')", "differs from call to call"),
        ("geomean(a)", "aggregate"),  # a macro of aggregates
        ("list_transform(l, x -> random())", r"random\(\) is not allowed"),
        ("read_text('/etc/passwd')", "reads a table"),
        ("nosuch(a)", "is not a function of DuckDB"),
        ("unnest(l)", "over the columns of one row"),
        ("*", "several columns"),
        ("COLUMNS('a.*')", "several columns"),
        ("$1", "a parameter"),
        ("?", "a parameter"),
        ("a FROM other", "syntax error"),
        ("a; DROP TABLE x", "syntax error|SELECT"),
        ("a) , (b", "not one SQL expression"),
        ("a)) FROM (SELECT (1", "."),
        ("", "syntax error"),
        ("a +", "syntax error"),
        ("'open", "not a SQL expression"),
    ],
)
def test_what_depends_on_more_than_the_row_is_refused(
    connection: duckdb.DuckDBPyConnection, expression: str, message: str
):
    with pytest.raises(ExpressionError, match=message):
        columns_of(expression, connection)


@pytest.mark.parametrize(
    ("expression", "by_type"),
    [
        ("a || '_' || b", ["a", "b"]),
        ("CAST(a AS BIGINT) || '_' || CAST(b AS BIGINT)", []),
        ("CAST(a AS VARCHAR)", ["a"]),
        ("concat(a, b + 1)", ["a"]),
        ("a + b * 2 - abs(c) / round(d, 2)", []),
        ("a < 1 AND b BETWEEN 1 AND 2 OR c IS NULL", []),
        ("coalesce(a, 1)", []),
        ("CASE WHEN a > 1 THEN b END", []),
        ("hash(a)", ["a"]),
        ("a + 1 < length(b)", ["b"]),
    ],
)
def test_the_columns_whose_stored_types_matter(
    connection: duckdb.DuckDBPyConnection, expression: str, by_type: list[str]
):
    assert columns_of(expression, connection).by_type == by_type
