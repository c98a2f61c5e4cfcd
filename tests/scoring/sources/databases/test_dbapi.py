"""Databases behind Python's DB-API: real drivers, SQLite's and psycopg2."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

from scoring.arrow.text import NUMERIC_TEXT
from scoring.errors import SourceError
from scoring.job.inputs import ColumnConfig
from scoring.sources.databases.dbapi import FETCH_ROWS, DbApi
from tests.warehouse import Warehouse

FROM, TO = datetime(2013, 2, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC)
VALUES = {"start": FROM, "end": TO, "partition": "2013-02"}
INT, FLOAT = ColumnConfig(type="int64"), ColumnConfig(type="float64")


@pytest.fixture
def sqlite(tmp_path: Path) -> DbApi:
    with sqlite3.connect(tmp_path / "warehouse.db") as connection:
        connection.execute("CREATE TABLE t (id, at, x)")
        rows = [(1, "2013-01-31 23:59:59+00:00", 1), (2, "2013-02-01 00:00:00+00:00", 2.5),
                (3, "2013-02-28 23:59:59+00:00", None), (4, "2013-03-01 00:00:00+00:00", "x")]  # fmt: skip
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    return DbApi(lambda: sqlite3.connect(tmp_path / "warehouse.db"))


@pytest.fixture
def by_psycopg2(warehouse: Warehouse) -> DbApi:
    of = warehouse.database
    return DbApi(
        lambda: psycopg2.connect(
            host="127.0.0.1", port=of.port, user="airflow", password=of.password, dbname="postgres"
        )
    )


def read(database: DbApi, sql: str, **wanted: ColumnConfig | None) -> pa.Table:
    return pa.concat_tables(database.read(sql, VALUES, wanted), promote_options="permissive")


def test_the_rows_of_the_partition_in_the_order_of_columns_asked_for(sqlite: DbApi):
    sql = "SELECT id, at, x, '%:start' AS k FROM t WHERE at >= :start AND at < :end ORDER BY id"
    assert read(sqlite, sql, x=FLOAT, k=None, id=None).to_pylist() == [
        {"x": 2.5, "k": "%:start", "id": 2},
        {"x": None, "k": "%:start", "id": 3},
    ]


def test_a_driver_with_parameters_by_name_and_percent_signs(by_psycopg2: DbApi):
    sql = "SELECT '100%' AS a, :start AS b, :partition AS c, 7 % 4 AS d ORDER BY :start, :end"
    assert read(by_psycopg2, sql, a=None, b=None, c=None, d=None).to_pylist() == [
        {"a": "100%", "b": FROM, "c": "2013-02", "d": 3}
    ]
    without_values = "SELECT '100%' AS a, 7 % 4 AS d ORDER BY 1"
    assert read(by_psycopg2, without_values, a=None, d=None).to_pylist() == [{"a": "100%", "d": 3}]


def test_the_moments_of_all_pieces_are_in_utc(by_psycopg2: DbApi):
    sql = "SELECT timestamptz '2013-02-03 04:05-05' AS at, date '2013-02-03' AS day ORDER BY 1"
    table = read(by_psycopg2, sql, at=None, day=None)
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    assert table.to_pylist() == [
        {"at": datetime(2013, 2, 3, 9, 5, tzinfo=UTC), "day": date(2013, 2, 3)}
    ]


def test_values_are_bound_and_never_become_text_of_the_query(sqlite: DbApi):
    values = VALUES | {"partition": "'; DROP TABLE t; --"}
    (table,) = sqlite.read("SELECT :partition AS x, count(*) AS n FROM t ORDER BY 1", values,
                           {"x": None, "n": None})  # fmt: skip
    assert table.to_pylist() == [{"x": "'; DROP TABLE t; --", "n": 4}]


def test_without_rows_there_is_one_empty_table(sqlite: DbApi):
    (table,) = sqlite.read("SELECT id, x FROM t WHERE id > 9 ORDER BY id", VALUES, {"x": FLOAT})
    assert (table.num_rows, table.column_names) == (0, ["x"])


@pytest.mark.parametrize("rows", [FETCH_ROWS, FETCH_ROWS + 1])
def test_all_rows_come_in_order_and_in_pieces(by_psycopg2: DbApi, rows: int):
    sql = f"SELECT i AS x FROM generate_series(1, {rows}) AS i ORDER BY i"
    pieces = list(by_psycopg2.read(sql, VALUES, {"x": None}))
    assert max(piece.num_rows for piece in pieces) == FETCH_ROWS
    assert pa.concat_tables(pieces)["x"].to_pylist() == list(range(1, rows + 1))


@pytest.mark.parametrize(
    ("values", "of", "texts"),
    [
        ("(1.5), (0.1)", FLOAT, ["0.1", "1.5"]),
        (
            "(9223372036854775807::numeric), (2.00), (NULL)",
            INT,
            ["2.00", "9223372036854775807", None],
        ),
        ("(1::numeric), (2.5), ('NaN')", INT, ["1", "2.5", None]),
    ],
)
def test_decimals_keep_their_digits_where_the_contract_wants_numbers(
    by_psycopg2: DbApi, values: str, of: ColumnConfig, texts: list[str | None]
):
    table = read(by_psycopg2, f"SELECT x FROM (VALUES {values}) AS v (x) ORDER BY 1", x=of)
    assert table.schema.field("x").type == NUMERIC_TEXT
    assert table["x"].combine_chunks().storage.to_pylist() == texts


def test_large_integers_beside_fractions_keep_their_digits(sqlite: DbApi):
    sql = "SELECT 9007199254740993 AS x UNION ALL SELECT 2.5 UNION ALL SELECT NULL ORDER BY 1"
    table = read(sqlite, sql, x=INT)
    assert table["x"].combine_chunks().storage.to_pylist() == [None, "2.5", "9007199254740993"]


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "date"])
@pytest.mark.parametrize("value", ["infinity", "-infinity"])
def test_infinity_is_not_the_last_day_of_python(by_psycopg2: DbApi, value: str, kind: str):
    with pytest.raises(
        SourceError, match="'x' is infinite, or a moment that the driver gives for that"
    ):
        read(by_psycopg2, f"SELECT '{value}'::{kind} AS x ORDER BY 1", x=None)


def test_lists_where_truth_values_are_wanted_are_refused(by_psycopg2: DbApi):
    table = read(by_psycopg2, "SELECT ARRAY[1] AS x ORDER BY 1", x=ColumnConfig(type="boolean"))
    assert pa.types.is_list(table.schema.field("x").type)  # which the contract refuses


def test_decimals_elsewhere_have_to_be_cast(by_psycopg2: DbApi):
    with pytest.raises(SourceError, match=r"'x' is decimal, .* CAST.x AS integer. AS x"):
        read(by_psycopg2, "SELECT 1.5 AS x ORDER BY 1", x=None)


def test_0_and_1_are_booleans_where_the_contract_wants_them(sqlite: DbApi):
    sql = "SELECT 0 AS x UNION ALL SELECT 1 UNION ALL SELECT NULL ORDER BY 1"
    assert read(sqlite, sql, x=ColumnConfig(type="boolean"))["x"].to_pylist() == [None, False, True]
    assert read(sqlite, sql, x=INT)["x"].to_pylist() == [None, 0, 1]


def test_a_column_of_several_kinds_is_named(sqlite: DbApi):
    with pytest.raises(SourceError, match="'x' is not of one kind that Arrow knows"):
        read(sqlite, "SELECT x FROM t ORDER BY id", x=FLOAT)


def test_a_missing_column_is_named_beside_those_that_are_there(sqlite: DbApi):
    with pytest.raises(SourceError, match="the query has no column 'y'; it has id, x"):
        read(sqlite, "SELECT id, x FROM t ORDER BY id", y=None)


def test_what_the_driver_says_is_told_in_one_line_and_the_connection_closed(sqlite: DbApi):
    with pytest.raises(sqlite3.OperationalError) as error:
        read(sqlite, "SELECT x\nFROM nosuch ORDER BY 1", x=None)
    assert sqlite.describe_error(error.value) == "no such table: nosuch"
    assert isinstance(error.value, sqlite.errors)
    assert sqlite.describe_error(ValueError()) == "ValueError"


def test_a_password_that_the_driver_repeats_is_not_told():
    database = DbApi(lambda: None, ["secret", None])
    assert (
        database.describe_error(ValueError("no such host: me:secret@db\nand more"))
        == "no such host: me:***@db"
    )


@pytest.mark.parametrize("ends", [list, next])
def test_the_connection_is_closed_also_when_nobody_reads_on(
    tmp_path: Path, ends: Callable[[Any], Any]
):
    opened = sqlite3.connect(tmp_path / "x.db")
    pieces = DbApi(lambda: opened).read("SELECT 1 AS x ORDER BY 1", VALUES, {"x": None})
    ends(pieces)
    pieces.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened.execute("SELECT 1")


def test_a_driver_that_hides_its_style_of_parameters_is_an_error():
    class Nameless(SimpleNamespace):
        __module__ = "nowhere.at.all"

    with pytest.raises(SourceError, match="a nowhere one, which says nothing of its style"):
        read(
            DbApi(lambda: Nameless(cursor=SimpleNamespace, close=lambda: None)), "SELECT 1", x=None
        )


def test_the_style_is_looked_for_in_the_packages_above_the_connection(monkeypatch):
    # As in snowflake-connector: the class is of snowflake.connector.connection.
    import sys

    from scoring.sources.databases.dbapi import _driver

    for name, style in (("a", None), ("a.b", "pyformat"), ("a.b.c", None)):
        module = ModuleType(name)
        if style:
            module.paramstyle = style
        monkeypatch.setitem(sys.modules, name, module)
    connection = type("Connection", (), {"__module__": "a.b.c"})()
    assert _driver(connection) == ("a.b", "pyformat")
