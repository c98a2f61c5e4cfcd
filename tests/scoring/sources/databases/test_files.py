"""Databases that are files, SQLite and DuckDB, as sources from the shell."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest

from scoring.errors import SourceError
from tests.scoring.factories import Place, extracted, predictions, run_steps

QUERY = "SELECT id, x FROM orders WHERE ordered >= :start AND ordered < :end ORDER BY id"
ROWS = [
    (1, 1.5, "2013-01-31 23:59:59+00:00"),
    (2, 2.5, "2013-02-01 00:00:00+00:00"),
    (3, None, "2013-02-10 12:00:00+00:00"),
    (4, 4.5, "2013-02-28 23:59:59+00:00"),
    (5, 5.5, "2013-03-01 00:00:00+00:00"),
]


def make(kind: str, path: Path) -> None:
    connection: Any = sqlite3.connect(path) if kind == "sqlite" else duckdb.connect(str(path))
    moment = "TEXT" if kind == "sqlite" else "TIMESTAMPTZ"
    connection.execute(f"CREATE TABLE orders (id BIGINT, x DOUBLE, ordered {moment})")
    connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", ROWS)
    connection.commit()
    connection.close()


@pytest.fixture(params=["sqlite", "duckdb"])
def orders(request: pytest.FixtureRequest, empty: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    path = empty.folder / "some folder" / "orders.db"
    path.parent.mkdir()
    make(request.param, path)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"{request.param}:///{str(path).replace(' ', '%20')}")
    empty.model()
    return empty


def source(sql: str = QUERY) -> dict[str, Any]:
    return {"source": {"uri": None, "sql": sql, "conn_id": "shop"}}


def test_the_rows_of_the_partition_are_scored(orders: Place):
    manifest = run_steps(orders.run(orders.job(**source())))
    assert (manifest.rows.rows_in, manifest.rows.quarantined) == (3, 1)
    assert predictions(manifest)["id"].to_pylist() == [2, 4]
    assert predictions(manifest)["y"].to_pylist() == pytest.approx([5.0, 9.0])


def test_derived_columns_and_row_numbers_are_for_queries_too(orders: Place):
    job = source()
    job["source"]["derive"] = {"name": "'order ' || id"}
    run = orders.run(orders.job(**job, row_id="row_number", output={"keep": ["name"]}))
    found = predictions(run_steps(run))
    assert found.column_names == ["row", "y", "name", "model_version", "partition"]
    assert found["row"].to_pylist() == [1, 3]
    assert found["name"].to_pylist() == ["order 2", "order 4"]


def test_a_wrong_query_is_named_in_the_words_of_the_database(orders: Place):
    with pytest.raises(SourceError, match=r"sql:shop cannot be read: .*nosuch"):
        extracted(orders.run(orders.job(**source("SELECT nosuch AS id, x FROM orders ORDER BY x"))))


def test_the_file_is_only_read(orders: Place):
    # A query is a SELECT, so what writes hides in it, or opens another file.
    for sql in (
        "SELECT id, x FROM read_csv('/etc/hostname') ORDER BY id",
        "WITH gone AS (DELETE FROM orders RETURNING id, x) SELECT id, x FROM gone ORDER BY id",
    ):
        with pytest.raises(SourceError):
            extracted(orders.run(orders.job(**source(sql))))


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_file_that_is_not_there_is_named(
    empty: Place, monkeypatch: pytest.MonkeyPatch, kind: str
):
    empty.model()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"{kind}:////nowhere/orders.db")
    with pytest.raises(SourceError, match=r"there is no \w+ file /nowhere/orders.db"):
        extracted(empty.run(empty.job(**source())))
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"{kind}://")
    with pytest.raises(SourceError, match=f"names no file; write {kind}:////folder/file"):
        extracted(empty.run(empty.job(**source())))


@pytest.mark.parametrize("kind", ["TIME", "INTERVAL", "INTEGER[]"])
def test_types_of_duckdb_that_predictions_cannot_have_are_refused(
    empty: Place, monkeypatch: pytest.MonkeyPatch, kind: str
):
    path = empty.folder / "orders.duckdb"
    make("duckdb", path)
    empty.model()
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"duckdb:///{path}")
    sql = f"SELECT id, x, CAST(NULL AS {kind}) AS k FROM orders WHERE ordered >= :start ORDER BY id"
    job = empty.job(**source(sql), output={"keep": ["k"]})
    with pytest.raises(SourceError, match=r"write CAST\(k AS text\) AS k"):
        extracted(empty.run(job))
