"""Postgres as a database of a source: a real server, asked by the driver that production uses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from devstack.services.ports import free_port
from scoring.arrow.cast import ColumnCast
from scoring.arrow.columns import combined_column
from scoring.arrow.text import NUMERIC_TEXT
from scoring.errors import SourceError
from scoring.job.inputs import ColumnConfig
from scoring.sources.databases.base import Database
from scoring.sources.databases.environment import connection_in_environment
from scoring.sources.databases.postgres import FETCH_ROWS, Postgres
from tests.warehouse import PASSWORD, Warehouse

FROM, TO = datetime(2013, 2, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC)
VALUES = {"start": FROM, "end": TO, "partition": "2013-02"}
INT, FLOAT = ColumnConfig(type="int64"), ColumnConfig(type="float64")


@pytest.fixture
def connect(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The database behind a connection in the environment, with ``extra`` in it."""

    def connect(of: Warehouse = warehouse, **extra: str) -> Postgres:
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", of.connection(**extra))
        return Postgres(connection_in_environment("warehouse"))

    return connect


def read(database: Database, sql: str, **wanted: ColumnConfig | None) -> pa.Table:
    return pa.concat_tables(database.read(sql, VALUES, wanted))


def column(database: Database, value: str, of: ColumnConfig | None = None) -> list[Any]:
    """The values of SQL expressions, as a column that a job reads."""
    return read(database, f"SELECT x FROM (VALUES {value}) AS v (x) ORDER BY 1", x=of)[
        "x"
    ].to_pylist()


def failure(database: Database, sql: str = "SELECT 1 AS x ORDER BY 1") -> str:
    with pytest.raises(database.errors) as error:
        read(database, sql, x=None)
    return database.describe_error(error.value)


def test_columns_come_in_arrows_own_types_and_in_the_order_asked_for(connect: Any):
    sql = """
        SELECT 'more' AS more, 1::int2 AS a, 2::int8 AS b, 1.5::float4 AS c, 2.5::float8 AS d,
            'text'::text AS e, 'x'::varchar(9) AS f, true AS g, date '2013-02-03' AS h,
            timestamp '2013-02-03 04:05' AS i, timestamptz '2013-02-03 04:05-05' AS j, NULL::int4 AS k
        ORDER BY 1"""
    table = read(connect(), sql, **dict.fromkeys("badcefghijk"))
    assert table.to_pylist() == [
        {
            "b": 2, "a": 1, "d": 2.5, "c": 1.5, "e": "text", "f": "x", "g": True,
            "h": date(2013, 2, 3), "i": datetime.fromisoformat("2013-02-03T04:05"),
            "j": datetime(2013, 2, 3, 9, 5, tzinfo=UTC), "k": None,
        }
    ]  # fmt: skip
    assert table.column_names == list("badcefghijk")
    assert table.schema.field("k").type == pa.int32()


def test_values_are_bound_and_never_become_text_of_the_query(connect: Any):
    sql = """
        SELECT :start AS a, :end AS b, :partition AS c, ':start' AS d, pg_typeof(:start)::text AS e,
            (:start AT TIME ZONE 'America/New_York')::text AS f, :start::date AS g
        ORDER BY :start"""
    values = VALUES | {"partition": "'; DROP TABLE t; --"}
    (table,) = connect().read(sql, values, dict.fromkeys("abcdefg"))
    assert table.to_pylist() == [
        {
            "a": FROM, "b": TO, "c": "'; DROP TABLE t; --", "d": ":start",
            "e": "timestamp with time zone", "f": "2013-01-31 19:00:00", "g": date(2013, 2, 1),
        }
    ]  # fmt: skip


def test_the_zone_of_the_session_changes_nothing(connect: Any):
    sql = """
        SELECT timestamptz '2013-02-01 00:30+00'::text AS a, timestamp '2013-02-01' >= :start AS b,
            extract(hour FROM :start)::int AS c
        ORDER BY 1"""
    (one,) = connect(options="-c TimeZone=Asia/Tokyo -c DateStyle=German").read(
        sql, VALUES, dict.fromkeys("abc")
    )
    assert one.to_pylist() == [{"a": "2013-02-01 00:30:00+00", "b": True, "c": 0}]


def judged(database: Database, values: str, of: ColumnConfig) -> list[Any]:
    """The values as the contract takes them; "unfit" for one that it does not."""
    stored = read(database, f"SELECT x FROM (VALUES {values}) AS v (x) ORDER BY 1", x=of)
    typed, unfit = ColumnCast(of, ZoneInfo("UTC"), text_only=False)(combined_column(stored, "x"))
    return ["unfit" if u else v for v, u in zip(typed.to_pylist(), unfit, strict=True)]


def test_numeric_is_a_number_where_the_contract_wants_one(connect: Any):
    database = connect()
    assert judged(database, "(1.25), (2), (0.1)", FLOAT) == [0.1, 1.25, 2.0]
    assert judged(database, "(1::numeric), (NULL), (9223372036854775807), (2.00)", INT) == [
        1, 2, 9223372036854775807, None,
    ]  # fmt: skip
    assert judged(database, "(9223372036854775807::numeric), (0.5), (9007199254740993)", INT) == [
        "unfit", 9007199254740993, 9223372036854775807,
    ]  # fmt: skip
    assert judged(database, "(9223372036854775808::numeric)", INT) == ["unfit"]
    assert judged(database, "('Infinity'::numeric), (1), ('NaN')", FLOAT) == [
        1.0,
        float("inf"),
        None,
    ]
    exact = "0.1000000000000000055511151231257827021181583404541015625"
    assert judged(database, f"({exact}::numeric)", FLOAT) == [0.1]


READ = {
    "boolean": ("true", True), "smallint": ("1", 1), "integer": ("2", 2), "bigint": ("3", 3),
    "real": ("1.5", 1.5), "double precision": ("2.5", 2.5), "text": ("'a'", "a"), "varchar": ("'b'", "b"),
    "character(2)": ("'c'", "c "), '"char"': ("'d'", "d"), "name": ("'e'", "e"),
    "date": ("'2024-01-05'", date(2024, 1, 5)),
    "timestamp": ("'2024-01-05 06:07'", datetime.fromisoformat("2024-01-05T06:07")),
    "timestamptz": ("'2024-01-05 06:07+00'", datetime(2024, 1, 5, 6, 7, tzinfo=UTC)),
}  # fmt: skip
"""Postgres' types that are read as they are."""

CAST = {
    "numeric": "1.5", "money": "'12.34'", "oid": "'4294967295'", "uuid": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
    "json": "'{}'", "jsonb": "'{}'", "bytea": "'x'", "time": "'10:11'", "timetz": "'10:11+02'",
    "interval": "'1 day'", "bit": "B'1'", "varbit": "B'1'", "inet": "'1.2.3.4'", "cidr": "'1.2.3.0/24'",
    "macaddr": "'08:00:2b:01:02:03'", "macaddr8": "'08:00:2b:01:02:03:04:05'", "point": "'(1,2)'",
    "line": "'{1,2,3}'", "lseg": "'[(0,0),(1,1)]'", "box": "'(1,1),(0,0)'", "path": "'[(0,0)]'",
    "polygon": "'((0,0))'", "circle": "'<(0,0),1>'", "tsvector": "'a'", "tsquery": "'a'", "pg_lsn": "'0/0'",
    "int4range": "'[1,2)'", "daterange": "'[2024-01-01,2024-01-02)'", "int4[]": "'{1}'", "text[]": "'{a}'",
    "xid": "'1'", "xid8": "'1'", "cid": "'1'", "tid": "'(0,1)'", "regclass": "'pg_class'",
    "regtype": "'integer'", "jsonpath": "'$'", "pg_snapshot": "'1:1:'",
}  # fmt: skip
"""Those that have to be cast, because a table of predictions has no place for them, or the driver another meaning."""


def test_every_built_in_type_is_read_or_has_to_be_cast(connect: Any, warehouse: Warehouse):
    known = {*READ, *CAST}
    sql = """
        SELECT format_type(oid, NULL) AS x FROM pg_type
        WHERE typtype IN ('b', 'r') AND typnamespace = 'pg_catalog'::regnamespace AND typelem = 0 ORDER BY 1"""
    built_in = set(read(connect(), sql, x=None)["x"].to_pylist())
    long_names = {
        "character": "character(2)", "character varying": "varchar", "time without time zone": "time",
        "time with time zone": "timetz", "timestamp without time zone": "timestamp",
        "timestamp with time zone": "timestamptz", "bit varying": "varbit",
    }  # fmt: skip
    internal = {
        "aclitem", "gtsvector", "pg_node_tree", "refcursor", "txid_snapshot", "int8range", "numrange",
        "tsrange", "tstzrange", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper",
        "regoperator", "regproc", "regprocedure", "regrole", "xml",
    }  # fmt: skip
    names = {long_names.get(name, name) for name in built_in}
    assert {n for n in names - known - internal if not n.startswith("pg_")} == set()


@pytest.mark.parametrize("kind", READ)
def test_a_type_that_is_read_keeps_its_value(connect: Any, kind: str):
    literal, value = READ[kind]
    assert column(connect(), f"({literal}::{kind}), (NULL)") == [value, None]


@pytest.mark.parametrize("kind", CAST)
def test_another_type_has_to_be_cast_and_its_text_is_read(connect: Any, kind: str):
    with pytest.raises(
        SourceError, match=r"'x' is .*, which is not read as it is: write CAST\(x AS"
    ):
        read(connect(), f"SELECT {CAST[kind]}::{kind} AS x ORDER BY 1::int", x=None)
    sql = f"SELECT CAST({CAST[kind]}::{kind} AS text) AS x ORDER BY 1"
    assert isinstance(read(connect(), sql, x=None)["x"][0].as_py(), str)


def test_money_is_cast_to_numeric(connect: Any):
    with pytest.raises(SourceError, match=r"'x' is money, .*: write CAST\(x AS numeric\) AS x"):
        column(connect(), "('12.34'::money)", FLOAT)
    assert judged(connect(), "(CAST('12.34'::money AS numeric)), ('-5'::numeric)", FLOAT) == [
        -5,
        12.34,
    ]


@pytest.mark.parametrize(
    "value",
    [
        "'infinity'::timestamp", "'-infinity'::timestamp", "'infinity'::timestamptz", "'-infinity'::timestamptz",
        "'infinity'::date", "'-infinity'::date", "'294276-12-31'::timestamp", "'10000-01-01'::timestamptz",
        "'5874897-12-31'::date", "'0044-03-15 BC'::date", "'0001-12-31 BC'::timestamp",
    ],
)  # fmt: skip
def test_moments_without_a_year_of_python_are_not_read(connect: Any, value: str):
    with pytest.raises(
        SourceError, match="'x' has moments that are infinite, or outside the years 1"
    ):
        column(connect(), f"({value}), (NULL)")


def test_the_first_and_the_last_moment_are_read(connect: Any):
    first, last = "0001-01-01T00:00", "9999-12-31T23:59:59.999999"
    assert column(connect(), f"('{first}'::timestamp), ('{last}')") == [
        datetime.fromisoformat(first), datetime.fromisoformat(last),
    ]  # fmt: skip
    assert column(connect(), "('0001-01-01'::date), ('9999-12-31')") == [date.min, date.max]


def test_columns_that_the_job_does_not_read_may_be_of_any_type(connect: Any):
    sql = "SELECT 1 AS x, ARRAY[1] AS y, gen_random_uuid() AS z, 1.5 AS y ORDER BY 1"
    assert read(connect(), sql, x=None).to_pylist() == [{"x": 1}]


def test_a_missing_column_is_named_beside_those_that_are_there(connect: Any):
    with pytest.raises(SourceError, match="the query has no column 'x', 'y'; it has a, b"):
        read(connect(), "SELECT 1 AS a, 2 AS b ORDER BY 1", x=None, y=None)


def test_without_rows_there_is_one_empty_table_in_the_servers_types(connect: Any):
    sql = "SELECT 1::int2 AS x, 1.5 AS y WHERE false ORDER BY 1"
    (table,) = connect().read(sql, VALUES, {"x": None, "y": INT})
    assert table.schema == pa.schema({"x": pa.int16(), "y": NUMERIC_TEXT})
    assert table.num_rows == 0


@pytest.mark.parametrize("rows", [FETCH_ROWS - 1, FETCH_ROWS, FETCH_ROWS + 1])
def test_all_rows_come_in_order_and_in_pieces(connect: Any, rows: int):
    sql = f"SELECT i AS x FROM generate_series(1, {rows}) AS i ORDER BY i"
    pieces = list(connect().read(sql, VALUES, {"x": None}))
    assert max(piece.num_rows for piece in pieces) <= FETCH_ROWS
    assert pa.concat_tables(pieces)["x"].to_pylist() == list(range(1, rows + 1))


def test_nothing_is_written_whatever_a_query_calls(connect: Any, warehouse: Warehouse):
    warehouse.execute("DROP SEQUENCE IF EXISTS numbers", "CREATE SEQUENCE numbers")
    message = failure(connect(), "SELECT nextval('numbers') AS x ORDER BY 1")
    assert message == "cannot execute nextval() in a read-only transaction"


def test_rows_that_come_meanwhile_are_not_read(connect: Any, warehouse: Warehouse):
    warehouse.execute(
        "DROP TABLE IF EXISTS growing",
        f"CREATE TABLE growing AS SELECT i AS x FROM generate_series(1, {FETCH_ROWS + 10}) AS i",
    )
    pieces = connect().read("SELECT x FROM growing ORDER BY x", VALUES, {"x": None})
    first = next(pieces)
    warehouse.execute("INSERT INTO growing SELECT 10000000", "DELETE FROM growing WHERE x = 70000")
    assert first.num_rows + sum(piece.num_rows for piece in pieces) == FETCH_ROWS + 10


def test_what_the_database_says_is_reported_in_one_line(connect: Any):
    database = connect()
    assert (
        failure(database, "SELECT x\nFROM\nnosuch ORDER BY 1") == 'relation "nosuch" does not exist'
    )
    assert failure(database, "SELECT 1 / 0 AS x ORDER BY 1") == "division by zero"
    assert failure(database, "SELECT x FROM ORDER BY 1") == 'syntax error at or near "ORDER"'


def test_a_statement_that_takes_too_long_is_ended_by_the_server(connect: Any):
    database = connect(options="-c statement_timeout=3s")
    message = failure(database, "SELECT pg_sleep(600)::text AS x ORDER BY 1")
    assert message == "canceling statement due to statement timeout"


def test_a_connection_that_is_cut_is_an_error_at_the_next_piece(connect: Any, warehouse: Warehouse):
    database = connect()
    sql = f"SELECT i AS x FROM generate_series(1, {3 * FETCH_ROWS}) AS i ORDER BY i"
    pieces: Iterator[pa.Table] = database.read(sql, VALUES, {"x": None})
    assert next(pieces).num_rows == FETCH_ROWS
    warehouse.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
        "'batch-scoring'"
    )
    with pytest.raises(database.errors) as error:
        list(pieces)
    assert re.search(
        "terminating connection|server closed the connection", database.describe_error(error.value)
    )


def test_a_refused_login_is_reported_without_the_password(connect: Any, warehouse: Warehouse):
    wrong = "wrong one"
    message = failure(connect(warehouse.with_password(wrong)))
    assert 'password authentication failed for user "airflow"' in message
    assert wrong not in message
    message = failure(connect(warehouse.with_port(free_port())))
    assert "Connection refused" in message
    assert PASSWORD not in message
    message = failure(connect(sslmode="require"))
    assert "server does not support SSL" in message


def test_a_password_that_the_database_repeats_is_not_shown(connect: Any):
    sql = f"SELECT CAST('{PASSWORD.replace(chr(39), chr(39) * 2)}' AS int) AS x ORDER BY 1"
    assert failure(connect(), sql) == 'invalid input syntax for type integer: "***"'


PEAK = """
import sys
from datetime import UTC, datetime
from scoring.sources.databases.environment import connection_in_environment
from scoring.sources.databases.postgres import Postgres
values = {"start": datetime(2013, 2, 1, tzinfo=UTC)}
sql = f'''SELECT i AS id, i * 0.5::float8 AS x, md5(i::text) AS k FROM generate_series(1, {sys.argv[1]}) AS i
    WHERE :start < now() ORDER BY i'''
pieces = Postgres(connection_in_environment("warehouse")).read(sql, values, dict.fromkeys(["id", "x", "k"]))
rows = sum(piece.num_rows for piece in pieces)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, int(peak.split()[1]) // 1024)
"""
"""Not by getrusage: its peak is at least that of the process which started this one."""


def test_memory_does_not_grow_with_the_month(connect: Any):
    connect()  # puts the connection into the environment
    peaks = {}
    for rows in (500_000, 3_000_000):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(rows)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        read, peaks[rows] = map(int, done.stdout.split())
        assert read == rows
    print(f"peak memory in MB by rows: {peaks}")
    # Held as a whole, the 2.5 million rows more are over 120 MB in Arrow, and more in the driver.
    assert peaks[3_000_000] < peaks[500_000] + 60
