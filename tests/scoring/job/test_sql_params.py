from __future__ import annotations

import contextlib
import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.job.sql_params import check_query, render_paramstyle

QUERY = "SELECT a FROM t WHERE at >= :start AND at < :end ORDER BY a"


@pytest.mark.parametrize(
    "sql",
    [
        QUERY,
        "select a from t order by a",
        "WITH x AS (SELECT 1 AS a) SELECT a FROM x ORDER BY a",
        "-- what it is for; and :what it needs\nSELECT a FROM t ORDER /* really */ BY a",
        "SELECT a FROM t UNION ALL SELECT a FROM u\n  ORDER\n  BY 1",
        "SELECT a FROM t WHERE b = '{{1,2},{3,4}}'::int[] AND c = '{data}' ORDER BY a",
        "SELECT a FROM t WHERE b = ';' AND c = ':x' ORDER BY a -- ;",
    ],
)
def test_a_query_is_a_select_with_an_order(sql: str):
    assert check_query(sql) == sql


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            QUERY.replace(":end", ":stop"),
            ":stop is not a parameter of a query; known: :start, :end, ",
        ),
        (
            QUERY.replace(":end", "$2"),
            "$2 is not a parameter of a query; write :start, :end, :partition",
        ),
        (QUERY + ";", "one statement, without ';'"),
        (
            "SELECT a FROM t WHERE m = '{{ ds }}' ORDER BY a",
            "{{ ds }} is a Jinja template, which is not rendered here; write :start",
        ),
        ("SELECT a FROM {% if x %}t{% endif %} ORDER BY a", "{% if x %} is a Jinja template"),
        ("SELECT 1; DROP TABLE t ORDER BY a", "one statement, without ';'"),
        ("", "begins with SELECT or WITH"),
        ("DELETE FROM t WHERE a IN (SELECT 1 ORDER BY 1)", "begins with SELECT or WITH"),
        ("(SELECT a FROM t ORDER BY a)", "begins with SELECT or WITH"),
        ("SELECT a FROM t", "must end with ORDER BY"),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a) AS x", "must end with ORDER BY"),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", "must end with ORDER BY"),
        ("SELECT a FROM t -- ORDER BY a", "must end with ORDER BY"),
        ("SELECT a FROM t /* ORDER BY a */", "must end with ORDER BY"),
        ("SELECT 'ORDER BY a' FROM t", "must end with ORDER BY"),
        ('SELECT "ORDER", "BY" FROM t', "must end with ORDER BY"),
        ("SELECT a FROM t GROUP BY a ORDER_BY a", "must end with ORDER BY"),
        ("SELECT a\nFROM t WHERE b = 'x ORDER BY a", "the ' in line 2 of the query is not closed"),
        ('SELECT a FROM "t ORDER BY a', 'the " in line 1 of the query is not closed'),
        ("SELECT a FROM t /* ORDER /* BY */ a", "a comment of the query, /*, is not closed"),
    ],
)
def test_what_is_none_is_reported(sql: str, expected: str):
    with pytest.raises(ValueError, match=re.escape(expected)):
        check_query(sql)


def test_why_a_query_needs_an_order_is_said():
    with pytest.raises(ValueError, match="the order of rows is part of the published bytes"):
        check_query("SELECT a FROM t")


@pytest.mark.parametrize(
    ("style", "where", "names"),
    [
        ("qmark", "? AND ? OR ?", ["start", "end", "start"]),
        ("format", "%s AND %s OR %s", ["start", "end", "start"]),
        ("numeric", ":1 AND :2 OR :1", ["start", "end"]),
        ("dollar", "$1 AND $2 OR $1", ["start", "end"]),
        ("named", ":start AND :end OR :start", ["start", "end"]),
        ("pyformat", "%(start)s AND %(end)s OR %(start)s", ["start", "end"]),
    ],
)
def test_parameters_are_written_in_the_style_of_the_driver(
    style: str, where: str, names: list[str]
):
    sql = "SELECT a FROM t WHERE {} ORDER BY a"
    assert render_paramstyle(sql.format(":start AND :end OR :start"), style) == (
        sql.format(where),
        names,
    )


LEFT_ALONE = [
    "':start'",
    "'it''s :start'",
    r"E'it\'s :start'",
    r"e'\\'",
    '":start"',
    '"a "" :start"',
    "`:start`",
    "$$ :start ' $$",
    "$q$ :start $$ $q$",
    "-- :start '\n",
    "/* :start ' */",
    "/* /* :start */ :end */",
    "a::start",
    "'2013'::date",
    "a[1:2]",
    "a[b:end]",
    "col:start",
    "x := 3",
    "a$b$c",
    "1.5e3",
    "Grüße",
]


@pytest.mark.parametrize("text", LEFT_ALONE)
@pytest.mark.parametrize("style", ["qmark", "dollar", "named"])
def test_what_only_looks_like_a_parameter_is_left_alone(text: str, style: str):
    sql = f"SELECT {text} , :end ORDER BY a"
    query, names = render_paramstyle(sql, style)
    assert names == ["end"]
    assert query.startswith(f"SELECT {text} , ")


@given(st.lists(st.sampled_from([*LEFT_ALONE, "a", ",", "(", ")", "%", "?"]), max_size=8))
def test_text_goes_to_the_driver_as_it_stands(parts: list[str]):
    sql = "\n".join(parts)
    assert render_paramstyle(sql, "dollar") == (sql, [])
    assert render_paramstyle(sql, "pyformat") == (sql.replace("%", "%%"), [])


@given(st.text(max_size=40))
def test_any_text_is_a_query_or_rejected_with_a_reason(text: str):
    with contextlib.suppress(ValueError):
        assert check_query(text) == text


@given(st.text(alphabet="ab':;-*/ \"\n", max_size=20))
def test_a_literal_is_recognized_as_a_database_does(text: str):
    literal = "'" + text.replace("'", "''") + "'"
    query, names = render_paramstyle(f"SELECT {literal}, :end", "qmark")
    assert names == ["end"]
    assert sqlite3.connect(":memory:").execute(query, ["x"]).fetchall() == [(text, "x")]
