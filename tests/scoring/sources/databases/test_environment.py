from __future__ import annotations

import json

import pytest

from scoring.errors import SourceError
from scoring.sources.databases.base import DatabaseConnection, must_be_cast, redact
from scoring.sources.databases.environment import connection_in_environment

WHOLE = DatabaseConnection(
    "warehouse",
    "postgres",
    "db.example",
    5433,
    "me@work",
    "p:/@?'x",
    "sales",
    {"sslmode": "require"},
)
FORMS = {
    "uri": "postgres://me%40work:p%3A%2F%40%3F%27x@db.example:5433/sales?sslmode=require",
    "uri with extra": "postgres://me%40work:p%3A%2F%40%3F%27x@db.example:5433/sales"
    "?__extra__=%7B%22sslmode%22%3A+%22require%22%7D",
    "json": json.dumps(
        {"conn_type": "postgres", "login": "me@work", "password": "p:/@?'x", "host": "db.example",
         "port": 5433, "schema": "sales", "extra": {"sslmode": "require"}}
    ),
    "json with text": json.dumps(
        {"conn_type": "postgres", "login": "me@work", "password": "p:/@?'x", "host": "db.example",
         "port": "5433", "schema": "sales", "extra": '{"sslmode": "require"}', "description": "x"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_a_connection_is_read_as_airflow_writes_it(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", text)
    assert connection_in_environment("warehouse") == WHOLE


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_airflow_reads_the_same_from_it(text: str):
    from airflow.models.connection import Connection as OfAirflow

    of = (
        OfAirflow.from_json(text, conn_id="warehouse")
        if text.startswith("{")
        else OfAirflow(conn_id="warehouse", uri=text)
    )
    assert (of.conn_type, of.host, of.port, of.login, of.password, of.schema) == (
        "postgres", "db.example", 5433, "me@work", "p:/@?'x", "sales",
    )  # fmt: skip
    assert of.extra_dejson == {"sslmode": "require"}


def test_what_is_not_given_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://db.example")
    assert connection_in_environment("warehouse") == DatabaseConnection(
        "warehouse", "postgres", "db.example"
    )


def test_a_connection_that_is_not_there_is_named_with_its_variable():
    with pytest.raises(SourceError, match=r"'warehouse' is not known: set AIRFLOW_CONN_WAREHOUSE,"):
        connection_in_environment("warehouse")


@pytest.mark.parametrize(
    "text",
    ["secret", "postgres://me:secret@db:port/x", '{"conn_type": "secret"', '{"secret": 1}',
     '{"conn_type": "postgres", "port": "secret"}', '{"conn_type": "postgres", "extra": "secret"}',
     "postgres://db/x?__extra__=secret", "postgres://me:secret@[db/x"],
)  # fmt: skip
def test_what_is_not_a_connection_is_not_repeated(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", text)
    with pytest.raises(SourceError, match="AIRFLOW_CONN_WAREHOUSE is not a connection") as error:
        connection_in_environment("warehouse")
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_connection_keeps_its_secrets_to_itself():
    connection = DatabaseConnection(
        "a", "postgres", password="secret", extra={"sslpassword": "secret"}
    )
    assert "secret" not in repr(connection)
    assert "secret" not in str(connection)


def test_secrets_become_stars():
    assert redact([None, "", "hush", "hot"], "a hush, so hot") == "a ***, so ***"


def test_a_column_to_cast_is_reported_with_the_cast():
    assert "CAST(n AS bigint) AS n in source.sql" in str(must_be_cast("n", "numeric", "bigint"))
