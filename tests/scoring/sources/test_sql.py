"""A query as the source of a partition: real Postgres, from the job file to the published bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from devstack.services.ports import free_port
from scoring.cli import main as cli
from scoring.destinations.manifest import Manifest, parse_manifest
from scoring.errors import ContractError, PartitionError, SourceError, VerifyError
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.local import score_partition
from scoring.pipeline.verify import verify_partition
from scoring.sources.base import open_source
from scoring.sources.databases import postgres
from scoring.sources.sql import SqlSource
from tests.scoring.factories import (
    MONTH,
    Place,
    extracted,
    predictions,
    quarantine,
    reasons,
    rows,
    run_steps,
)
from tests.warehouse import PASSWORD, Warehouse

QUERY = "SELECT id, at, x, note FROM orders WHERE at >= :start AND at < :end ORDER BY id"
IN_MARCH = 3


@pytest.fixture
def orders(empty: Place, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Place:
    """2,500 orders of February and three of March: in the warehouse, and February's in a file."""
    count = 2500
    table = rows(count, note=[None if i % 5 == 0 else f"note {i % 7}" for i in range(1, count + 1)])
    empty.source(table, row_group_size=700)
    empty.model()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse.connection())
    warehouse.execute(
        "DROP TABLE IF EXISTS orders",
        f"""CREATE TABLE orders AS SELECT i::bigint AS id, i::float8 AS x,
            CASE WHEN i % 5 <> 0 THEN 'note ' || i % 7 END AS note,
            CASE WHEN i <= {count} THEN timestamptz '2013-02-01 00:00+00' + i * interval '15 min'
                ELSE timestamptz '2013-03-01 00:00+00' END AS at
            FROM generate_series(1, {count + IN_MARCH}) AS i""",
    )
    return empty


def asking(
    place: Place, sql: str = QUERY, conn_id: str = "warehouse", **changes: Any
) -> PartitionContext:
    source = {"uri": None, "sql": sql, "conn_id": conn_id, **changes.pop("source", {})}
    return place.run(place.job(source=source, **changes))


def source_of(run: PartitionContext) -> SqlSource:
    source = open_source(run.job, run.partition, run.roots, run.connections)
    assert isinstance(source, SqlSource)
    return source


def published(place: Place) -> Manifest:
    path = place.out / "_manifests" / f"month={MONTH}.json"
    return parse_manifest(path.read_bytes(), str(path))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_rows_of_a_query_have_the_bytes_of_the_same_rows_in_a_file(orders: Place, workers: int):
    kept = {"keep": ["note"]}
    from_file = score_partition(
        orders.run(orders.job(output=kept)), {"by": "test"}, workers=workers
    )
    of_file = Path(from_file.output.uri).read_bytes()
    from_query = score_partition(asking(orders, output=kept), {"by": "test"}, workers=workers)
    assert (from_query.rows.rows_in, from_query.rows.scored) == (2500, 2500)
    assert Path(from_query.output.uri).read_bytes() == of_file
    assert predictions(from_query)["y"].to_pylist()[:2] == pytest.approx([2, 4])


def test_each_partition_asks_for_its_own_moments(orders: Place):
    job = asking(orders).job_file
    march = run_steps(orders.run(job, "2013-03"))
    assert predictions(march)["id"].to_pylist() == [2501, 2502, 2503]


def test_moments_are_those_of_the_partition_in_the_zone_of_the_job(orders: Place):
    sql = "SELECT 1 AS id, 1.5::float8 AS x, :start::text || ' ' || :end::text AS note ORDER BY 1"
    run = asking(orders, sql, timezone="America/New_York", output={"keep": ["note"]})
    (table,) = source_of(run).batches(repeat(10))
    assert table["note"].to_pylist() == ["2013-02-01 05:00:00+00 2013-03-01 05:00:00+00"]


def test_the_contract_judges_the_rows_of_a_query_too(orders: Place, warehouse: Warehouse):
    warehouse.execute(
        "UPDATE orders SET x = NULL WHERE id = 7",
        "INSERT INTO orders VALUES (9, 1, NULL, '2013-02-07'), (NULL, 1, NULL, '2013-02-07')",
    )
    sql = "SELECT id, x, at FROM orders ORDER BY id NULLS LAST, x"
    manifest = run_steps(asking(orders, sql, source={"date_column": "at"}))
    assert reasons(manifest) == {
        7: ("missing_value", "x"),
        10: ("duplicate_row_id", None),
        2502: ("outside_partition", "at"),
        2503: ("outside_partition", "at"),
        2504: ("outside_partition", "at"),
        2505: ("null_row_id", "id"),
    }
    assert quarantine(manifest)["id"].to_pylist().count(9) == 1


def test_a_query_without_rows_is_a_partition_without_rows(orders: Place):
    nothing = QUERY.replace("WHERE", "WHERE id < 0 AND")
    with pytest.raises(ContractError, match=r"0 rows came in, fewer than checks\.min_rows"):
        run_steps(asking(orders, nothing))
    assert not (orders.out / "_manifests").exists()
    manifest = run_steps(asking(orders, nothing, checks={"min_rows": 0}))
    assert (manifest.rows.scored, predictions(manifest).num_rows) == (0, 0)


def test_the_manifest_says_what_was_asked_and_what_came(orders: Place):
    source = run_steps(asking(orders)).source
    assert (source.uri, source.rows, source.files) == ("sql:warehouse", 2500, [])
    assert source.bytes >= 2500 * 16
    asked = [QUERY, "2013-02-01 00:00:00+00:00", "2013-03-01 00:00:00+00:00", MONTH]
    assert source.query_sha256 == hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    assert published(orders).source == source


def test_the_digest_of_the_rows_does_not_depend_on_how_they_are_cut(
    orders: Place, monkeypatch: pytest.MonkeyPatch
):
    def digest(sql: str, *sizes: int) -> str:
        source = source_of(asking(orders, sql))
        read = sum(table.num_rows for table in source.batches(chain(sizes, repeat(sizes[-1]))))
        return source.record(read).sha256

    digests = {digest(QUERY, 10_000), digest(QUERY, 7, 1000)}
    monkeypatch.setattr(postgres, "FETCH_ROWS", 600)
    digests.add(digest(QUERY, 10_000))
    assert len(digests) == 1
    assert digest(QUERY.replace("ORDER BY id", "ORDER BY id DESC"), 100) not in digests
    assert digest(QUERY.replace(" x,", " x + 1e-9 AS x,"), 100) not in digests


def test_verify_names_the_source_when_the_rows_have_changed(orders: Place, warehouse: Warehouse):
    run_steps(asking(orders))
    assert verify_partition(asking(orders), workers=1).rows.scored == 2500
    warehouse.execute("UPDATE orders SET x = x + 1 WHERE id = 1234")
    with pytest.raises(VerifyError, match=r"Changed since: the source sql:warehouse$"):
        verify_partition(asking(orders), workers=1)


FAILURES: dict[str, tuple[str, str]] = {
    "a table that is not there": (QUERY.replace("orders", "nosuch"), 'relation "nosuch" does not exist'),
    "an error in a late row": (QUERY.replace(" x,", " 1 / (2400 - id) AS x,"), "division by zero"),
    "a column that is not there": (QUERY.replace(" x,", ""), "the query has no column 'x'"),
    "a column to cast": (QUERY.replace(" id,", " id::numeric AS id,"), "'id' is numeric"),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), FAILURES.values(), ids=FAILURES)
def test_what_fails_in_the_database_publishes_nothing(orders: Place, sql: str, expected: str):
    manifest = run_steps(asking(orders))
    before = orders.files()
    with pytest.raises(SourceError) as error:
        score_partition(asking(orders, sql), {}, workers=1)
    assert str(error.value).startswith("sql:warehouse")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None
    assert orders.files() == before
    assert published(orders) == manifest


def test_a_connection_that_is_cut_in_the_middle_publishes_nothing(
    orders: Place, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres, "FETCH_ROWS", 500)
    run = asking(orders)
    batches = source_of(run).batches(repeat(500))
    assert next(batches).num_rows == 500
    warehouse.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
        "'batch-scoring'"
    )
    with pytest.raises(SourceError, match=r"^sql:warehouse cannot be read: .*"):
        list(batches)


def test_a_database_that_is_not_there_is_reported_without_the_password(
    orders: Place, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", warehouse.with_port(free_port()).connection())
    with pytest.raises(
        SourceError, match=r"sql:warehouse cannot be read: .*Connection refused"
    ) as error:
        extracted(asking(orders))
    assert PASSWORD not in str(error.value)


def test_the_shell_reads_postgres_only(orders: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_MYSQL", "mysql://me:secret@db/sales")
    with pytest.raises(
        SourceError, match="'mysql' is of the type 'mysql': from the shell only"
    ) as error:
        extracted(asking(orders, conn_id="mysql"))
    assert "secret" not in str(error.value)
    with pytest.raises(SourceError, match="set AIRFLOW_CONN_ELSEWHERE"):
        extracted(asking(orders, conn_id="elsewhere"))


def test_from_the_shell_no_output_and_no_file_holds_the_password(
    orders: Place, capfd: pytest.CaptureFixture[str]
):
    of_partition = [str(asking(orders).job_file.path), MONTH, "--data", str(orders.data)]
    command = [sys.executable, "-m", "scoring", "run", *of_partition]
    assert subprocess.run(command, check=False).returncode == 0
    assert cli.main(["show", *of_partition, "--json"]) == 0
    assert cli.main(["verify", *of_partition, "--json"]) == 0
    said = "".join(capfd.readouterr())
    assert "sql:warehouse" in said
    files = b"".join((orders.out / name).read_bytes() for name in orders.files())
    assert "it's a pass" not in said
    assert b"it's a pass" not in files


@pytest.mark.parametrize("key", ["2013-02'; DROP TABLE orders; --", "2013-02;", "' OR 1=1 --"])
def test_a_key_is_a_partition_or_nothing(orders: Place, warehouse: Warehouse, key: str):
    with pytest.raises(PartitionError):
        asking(orders).job.partition_to_score(key)
    job = str(asking(orders).job_file.path)
    assert cli.main(["run", job, key, "--data", str(orders.data)]) == 2
    assert warehouse.database.execute("SELECT count(*) FROM orders") == [(2500 + IN_MARCH,)]


def test_types_of_a_query_are_those_of_the_server_even_where_a_piece_is_all_null(
    orders: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres, "FETCH_ROWS", 10)
    sql = "SELECT id, x, CASE WHEN id > 100 THEN id::int END AS late FROM orders ORDER BY id"
    tables = list(source_of(asking(orders, sql, output={"keep": ["late"]})).batches(repeat(50)))
    assert {table.schema.field("late").type for table in tables} == {pa.int32()}
    assert tables[0]["late"].null_count == 50
