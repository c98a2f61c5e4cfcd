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


READ = {
    "true": True, "7": 7, "1.5::float8": 1.5, "'a'": "a", "date '2024-01-05'": date(2024, 1, 5),
    "timestamp '2024-01-05 06:07'": datetime.fromisoformat("2024-01-05T06:07"),
    "timestamptz '2024-01-05 06:07+00'": datetime(2024, 1, 5, 6, 7, tzinfo=UTC), "'\\x00ff'::bytea": b"\x00\xff",
    "NULL": None,
}  # fmt: skip
"""What a driver's values are read as: one of each type of Python's that is read."""

CAST = {
    "1.5": "decimal", "interval '1 day'": "timedelta", "time '10:11'": "time", "'{}'::json": "dict",
    "ARRAY[1]": "list", "int4range(1, 2)": "NumericRange",
}  # fmt: skip
"""Types of Python's that have to be cast."""


@pytest.mark.parametrize("literal", READ)
def test_a_value_is_read_as_what_it_is(by_psycopg2: DbApi, literal: str):
    table = read(by_psycopg2, f"SELECT {literal} AS x ORDER BY 1", x=None)
    assert table["x"].to_pylist() == [READ[literal]]


@pytest.mark.parametrize("literal", CAST)
def test_a_value_of_another_type_has_to_be_cast(by_psycopg2: DbApi, literal: str):
    with pytest.raises(
        SourceError, match=f"'x' is {CAST[literal]}, which is not read as it is: write CAST"
    ):
        read(by_psycopg2, f"SELECT {literal} AS x ORDER BY 1::int", x=None)


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ("SELECT 1 AS x UNION ALL SELECT 'a'", "number, text"),
        ("SELECT 'a' AS x UNION ALL SELECT x'61'", "bytes, text"),
        ("SELECT 1.5 AS x UNION ALL SELECT x'61'", "bytes, number"),
    ],
)
def test_a_column_of_sqlite_with_values_of_several_kinds_is_refused(
    sqlite: DbApi, values: str, kinds: str
):
    with pytest.raises(
        SourceError, match=f"'x' is of several kinds .{kinds}., .* CAST.x AS text. AS x"
    ):
        read(sqlite, f"SELECT x FROM ({values}) ORDER BY x", x=None)


@pytest.mark.parametrize(
    ("literal", "value"),
    [("1", 1), ("1.5", 1.5), ("'a'", "a"), ("x'00ff'", b"\x00\xff"), ("NULL", None)],
)
def test_each_storage_class_of_sqlite_is_read(sqlite: DbApi, literal: str, value: Any):
    assert read(sqlite, f"SELECT {literal} AS x ORDER BY 1", x=None)["x"].to_pylist() == [value]


def test_moments_with_and_without_a_zone_in_one_column_are_refused(tmp_path: Path):
    def parsed(data: bytes) -> datetime:
        return datetime.fromisoformat(data.decode())

    sqlite3.register_converter("moment", parsed)
    path = tmp_path / "moments.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x moment)")
        moments = [("2024-01-05 06:00",), ("2024-01-05 06:00+00:00",)]
        connection.executemany("INSERT INTO t VALUES (?)", moments)
    database = DbApi(lambda: sqlite3.connect(path, detect_types=sqlite3.PARSE_DECLTYPES))
    with pytest.raises(SourceError, match="moment with and without a zone"):
        read(database, "SELECT x FROM t ORDER BY x", x=None)


def test_integers_of_more_than_64_bits_are_numbers_that_do_not_fit(by_psycopg2: DbApi):
    # Decimals stand for MySQL's unsigned bigint, which its drivers give as such integers.
    sql = f"SELECT x FROM (VALUES ({2**63}::numeric), (7), (NULL)) AS v (x) ORDER BY 1"
    table = read(by_psycopg2, sql, x=INT)
    assert table["x"].combine_chunks().storage.to_pylist() == ["7", str(2**63), None]


def test_decimals_elsewhere_have_to_be_cast(by_psycopg2: DbApi):
    with pytest.raises(SourceError, match=r"'x' is decimal, .* CAST.x AS integer. AS x"):
        read(by_psycopg2, "SELECT 1.5 AS x ORDER BY 1", x=None)


def test_0_and_1_are_booleans_where_the_contract_wants_them(sqlite: DbApi):
    sql = "SELECT 0 AS x UNION ALL SELECT 1 UNION ALL SELECT NULL ORDER BY 1"
    assert read(sqlite, sql, x=ColumnConfig(type="boolean"))["x"].to_pylist() == [None, False, True]
    assert read(sqlite, sql, x=INT)["x"].to_pylist() == [None, 0, 1]


def test_a_column_of_several_kinds_is_named(sqlite: DbApi):
    with pytest.raises(SourceError, match=r"'x' is of several kinds .number, text."):
        read(sqlite, "SELECT x FROM t ORDER BY id", x=FLOAT)


def test_a_missing_column_is_named_beside_those_that_are_there(sqlite: DbApi):
    with pytest.raises(SourceError, match="the query has no column 'y'; it has id, x"):
        read(sqlite, "SELECT id, x FROM t ORDER BY id", y=None)


def test_what_the_driver_says_is_reported_in_one_line_and_the_connection_closed(sqlite: DbApi):
    with pytest.raises(sqlite3.OperationalError) as error:
        read(sqlite, "SELECT x\nFROM nosuch ORDER BY 1", x=None)
    assert sqlite.describe_error(error.value) == "no such table: nosuch"
    assert isinstance(error.value, sqlite.errors)
    assert sqlite.describe_error(ValueError()) == "ValueError"


def test_a_password_that_the_driver_repeats_is_not_shown():
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

    with pytest.raises(SourceError, match="a nowhere one, which does not declare its paramstyle"):
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
