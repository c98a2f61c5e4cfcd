"""Databases behind Airflow's connections, asked by the operators: Postgres, and SQLite by its hook."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.models.xcom import XComModel
from airflow.sdk.exceptions import ParamValidationError
from airflow.utils.session import create_session
from scoring_airflow import connections

from devstack.services.ports import free_port
from scoring.errors import ModelError
from scoring.job.schema import Job
from tests import small_job
from tests.plugins.conftest import PUBLISHED, Start
from tests.warehouse import PASSWORD, Warehouse

REPOSITORY = Path(__file__).resolve().parents[2]
FEBRUARY_IS_OVER = datetime(2013, 3, 2, 3, tzinfo=UTC)
QUERY = "SELECT flight, delay FROM flights WHERE day >= :start AND day < :end ORDER BY flight"
INJECTION = "'; DROP TABLE flights; --"


def source(conn_id: str = "warehouse", sql: str = QUERY) -> dict[str, Any]:
    return {"uri": None, "sql": sql, "conn_id": conn_id}


def february(data: Path) -> list[tuple[int, float | None]]:
    table = pq.ParquetFile(data / "flights" / "2013-02.parquet").read()
    return list(zip(table["flight"].to_pylist(), table["delay"].to_pylist(), strict=True))


@pytest.fixture
def in_postgres(data: Path, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    values = ", ".join(f"({f}, {'NULL' if d is None else d})" for f, d in february(data))
    warehouse.execute(
        "DROP TABLE IF EXISTS flights",
        f"""CREATE TABLE flights AS SELECT flight::bigint, delay::float8,
            timestamptz '2013-02-01 00:00+00' + flight * interval '1 min' AS day
            FROM (VALUES {values}) AS v (flight, delay)""",
        "INSERT INTO flights VALUES (1, 1, '2013-01-31 23:59:59+00'), (1, 1, '2013-03-01 "
        "00:00+00')",
    )
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse.connection())
    return warehouse


@pytest.fixture
def in_sqlite(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "warehouse.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE flights (flight INTEGER, delay REAL, day TEXT)")
        rows = [(flight, delay, "2013-02-14 12:00:00+00:00") for flight, delay in february(data)]
        others = [(1, 1, "2013-01-31 23:59:59+00:00"), (1, 1, "2013-03-01 00:00:00+00:00")]
        connection.executemany("INSERT INTO flights VALUES (?, ?, ?)", [*rows, *others])
    monkeypatch.setenv(
        "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)})
    )
    return path


def run_dag(dags_folder: Path, name: str, **options: Any) -> Any:
    bag = BundleDagBag(dags_folder, bundle_path=dags_folder, bundle_name="dags-folder")
    assert bag.import_errors == {}
    return bag.dags[name].test(logical_date=FEBRUARY_IS_OVER, **options)


@pytest.fixture
def job(dags_folder: Path) -> Callable[..., Path]:
    def job(**changes: Any) -> Path:
        shutil.copy(REPOSITORY / "dags" / "scoring_jobs.py", dags_folder)
        return small_job.write_job(dags_folder / "jobs", **changes)

    return job


def test_a_month_from_postgres_is_the_month_from_a_file(
    job: Any, dags_folder: Path, data: Path, in_postgres: Warehouse, by_shell: Any,
    capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    job(name="from_postgres", source=source())
    run = run_dag(dags_folder, "from_postgres")
    assert run.state == "success"
    assert (data / PUBLISHED).read_bytes() == by_shell()[0]
    manifest = data / "predictions/small_flights/_manifests/month=2013-02.json"
    assert json.loads(manifest.read_text())["source"]["uri"] == "sql:warehouse"
    with create_session() as session:
        returned = session.query(XComModel).filter_by(run_id=run.run_id).all()
        found = json.dumps([row.value for row in returned])
    assert len(returned) > 3
    captured = capfd.readouterr()
    assert "came in from sql:warehouse" in captured.out + captured.err
    for text in (manifest.read_text(), found, captured.out, captured.err):
        assert "it's a pass" not in text
        assert quote(PASSWORD, safe="") not in text


def test_a_month_from_sqlite_by_its_hook_is_the_month_from_a_file(
    job: Any, dags_folder: Path, data: Path, in_sqlite: Path, by_shell: Any
):
    job(name="from_sqlite", source=source())
    assert run_dag(dags_folder, "from_sqlite").state == "success"
    assert (data / PUBLISHED).read_bytes() == by_shell()[0]


def test_nothing_of_a_runs_conf_reaches_the_query(
    job: Any, dags_folder: Path, data: Path, in_postgres: Warehouse
):
    job(name="with_conf", source=source(sql=QUERY.replace("WHERE", "WHERE :partition <> '' AND")))
    for key in ("model_version", "partition"):
        with pytest.raises(ParamValidationError, match=f"Invalid input for param {key}"):
            run_dag(dags_folder, "with_conf", run_conf={key: INJECTION})
    for key in ("start", "end", "sql", "conn_id"):
        assert run_dag(dags_folder, "with_conf", run_conf={key: INJECTION}).state == "failed"
    conf = dict.fromkeys(("openlineage", "_start", "_sql"), INJECTION)
    assert run_dag(dags_folder, "with_conf", run_conf=conf).state == "success"
    assert pq.ParquetFile(data / PUBLISHED).metadata.num_rows == 2450
    assert in_postgres.database.execute("SELECT count(*) FROM flights") == [(2502,)]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("model_version", "has no model version"), ("data_interval_start", "is not a moment")],
)
def test_what_an_operator_is_given_is_a_version_or_a_moment_or_nothing(
    start: Start, in_postgres: Warehouse, argument: str, expected: str
):
    of = start(source=source(), extract={argument: INJECTION})
    result = of.run.run(of.extract)
    assert result.state == "failed"
    assert expected in str(result.error)
    assert in_postgres.database.execute("SELECT count(*) FROM flights") == [(2502,)]


def test_a_table_that_is_not_there_is_retried(start: Start, in_postgres: Warehouse):
    of = start(source=source())
    in_postgres.execute("ALTER TABLE flights RENAME TO later")
    late = of.run.run(of.extract)
    assert late.state == "up_for_retry"
    assert str(late.error).splitlines() == [
        'sql:warehouse cannot be read: relation "flights" does not exist',
        "Nothing was published.",
    ]
    in_postgres.execute("ALTER TABLE later RENAME TO flights")
    assert of.run.run(of.extract).state == "success"


CONNECTIONS = {
    "wrong password": (lambda w: w.with_password("wr0ng").connection(), "password authentication"),
    "not there": (lambda w: w.with_port(free_port()).connection(), "Connection refused"),
    "no such type": (lambda w: "nosuch://me:wr0ng@db/x", 'Unknown hook type "nosuch"'),
    "no table": (lambda w: '{"conn_type": "sqlite", "host": ":memory:"}', "no such table: flights"),
}


@pytest.mark.parametrize(("connection", "expected"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_a_connection_that_leads_nowhere_is_reported_without_its_secrets_and_retried(
    start: Start, in_postgres: Warehouse, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], connection: Any, expected: str,
):  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", connection(in_postgres))
    of = start(source=source())
    result = of.run.run(of.extract)
    assert result.state == "up_for_retry"
    assert re.search(expected, str(result.error))
    assert "warehouse" in str(result.error)
    captured = capfd.readouterr()
    for text in (str(result.error), captured.out, captured.err):
        assert "wr0ng" not in text
        assert "it's a pass" not in text


def test_a_connection_that_airflow_does_not_know_is_named(start: Start):
    of = start(source=source("nowhere"))
    result = of.run.run(of.extract)
    assert result.state == "up_for_retry"
    assert "'nowhere'" in str(result.error)


def test_the_connection_for_s3_is_the_jobs_else_the_installations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def job(**run: str) -> Job:
        return Job.model_validate({**small_job.JOB, "run": run})

    monkeypatch.delenv("SCORING_AWS_CONN_ID", raising=False)
    assert connections.aws_conn_id_of(job()) is None
    monkeypatch.setenv("SCORING_AWS_CONN_ID", "of_all")
    assert connections.aws_conn_id_of(job()) == "of_all"
    assert connections.aws_conn_id_of(job(aws_conn_id="own")) == "own"


@pytest.mark.parametrize(
    ("connection", "uri", "authorization"),
    [
        ("http://mlflow.example.com:5000", "http://mlflow.example.com:5000", None),
        ("https://ada:pw@mlflow.example.com", "https://mlflow.example.com", "Basic YWRhOnB3"),
        ("http://:t0ken@mlflow.example.com/https", "https://mlflow.example.com", "Bearer t0ken"),
        (
            json.dumps({"conn_type": "http", "host": "https://mlflow.example.com/", "port": 8443}),
            "https://mlflow.example.com:8443",
            None,
        ),
    ],
)
def test_an_mlflow_server_is_an_http_connection(
    monkeypatch: pytest.MonkeyPatch, connection: str, uri: str, authorization: str | None
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MODELS", connection)
    make = connections.airflow_connections(None, "models").mlflow
    assert make is not None
    server = make()
    assert server.uri == uri
    assert server.headers.get("Authorization") == authorization
    assert connections.airflow_connections(None).mlflow is None


def test_an_mlflow_connection_that_is_not_there_is_named() -> None:
    make = connections.airflow_connections(None, "nowhere").mlflow
    assert make is not None
    with pytest.raises(ModelError, match="the connection 'nowhere' cannot be used"):
        make()
