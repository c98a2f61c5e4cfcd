"""A query of the files of a partition."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from scoring.errors import JobError, SourceError
from scoring.pipeline.verify import verify_partition
from tests.scoring.factories import (
    Place,
    extracted,
    in_shards_of,
    predictions,
    reasons,
    rows,
    run_steps,
)

QUERY = "SELECT id, x - min(x) OVER () AS x FROM source ORDER BY id"


def query(sql: str = QUERY, **more: Any) -> dict[str, Any]:
    return {"source": {"sql": sql, **more}}


def test_the_query_sees_all_rows_of_all_files(empty: Place):
    empty.source(rows(1_200, x=[float(n) for n in range(2_000, 3_200)]), "2013-02/a.parquet")
    second = pa.table({"id": range(1_201, 1_301), "x": [7.0] * 100})
    empty.source(second, "2013-02/b.parquet")
    empty.model()
    run = empty.run(
        in_shards_of(empty.job(**query(uri="{data}/source/{partition}/*.parquet")), 170)
    )
    manifest = run_steps(run)
    found = predictions(manifest)
    assert found["id"].to_pylist() == list(range(1, 1_301))
    expected = [2.0 * (n - 7) for n in range(2_000, 3_200)] + [0.0] * 100
    assert found["y"].to_pylist() == pytest.approx(expected)
    assert [file.uri[-9:] for file in manifest.source.files] == ["a.parquet", "b.parquet"]
    assert manifest.source.query_sha256 is not None
    verify_partition(run)


def test_a_join_with_itself_and_parameters(empty: Place):
    empty.source(rows(6, month=["2013-02", "2013-03"] * 3))
    empty.model()
    sql = (
        "SELECT a.id, a.x + b.x AS x FROM source AS a JOIN source AS b ON a.id = b.id "
        "WHERE a.month = :partition ORDER BY a.id"
    )
    found = predictions(run_steps(empty.run(empty.job(**query(sql)))))
    assert (found["id"].to_pylist(), found["y"].to_pylist()) == (
        [1, 3, 5],
        pytest.approx([4.0, 12.0, 20.0]),
    )


def test_csv_columns_are_text_for_the_query(empty: Place):
    empty.csv("id,x\n1,1.5\n2,oops\n")
    empty.model()
    sql = "SELECT id, TRY_CAST(x AS DOUBLE) AS x FROM source ORDER BY CAST(id AS INTEGER)"
    job = empty.job(**query(sql, uri="{data}/source/{partition}.csv"))
    manifest = run_steps(empty.run(job))
    assert predictions(manifest)["y"].to_pylist() == pytest.approx([3.0])
    assert reasons(manifest) == {2: ("missing_value", "x")}


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT id, nosuch AS x FROM source ORDER BY id", "source.sql fails: .*nosuch"),
        ("SELECT id FROM source ORDER BY id", "the query has no column 'x'"),
        (
            "SELECT id, x FROM read_parquet('other.parquet') AS source ORDER BY id",
            "source.sql fails: Permission Error",
        ),
        (
            "SELECT id, 1.0 / CAST('a' AS INTEGER) AS x FROM source ORDER BY id",
            "Conversion Error",
        ),
    ],
)
def test_what_is_wrong_with_the_query_is_said_in_duckdbs_words(
    empty: Place, sql: str, message: str
):
    empty.source(rows(3))
    empty.model()
    with pytest.raises(SourceError, match=message):
        extracted(empty.run(empty.job(**query(sql))))
    assert empty.files() == []


def test_what_is_wrong_with_the_fields_is_named(empty: Place):
    with pytest.raises(JobError, match="reads no table source"):
        empty.job(**query("SELECT id, x FROM orders ORDER BY id"))
    with pytest.raises(JobError, match="conn_id: is for sql without uri"):
        empty.job(**query(conn_id="warehouse"))
    with pytest.raises(JobError, match="must end with ORDER BY"):
        empty.job(**query("SELECT id, x FROM source"))
