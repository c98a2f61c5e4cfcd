"""Derived columns, and rows that are left out by intention: counted, named, never quarantined."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.destinations.manifest import Manifest
from scoring.errors import ContractError, JobError, ScorerError, SourceError
from scoring.job.loader import JobFile
from scoring.pipeline.clean import clean
from scoring.pipeline.rehearsal import rehearse
from scoring.pipeline.verify import verify_partition
from tests.scoring.factories import (
    Place,
    extracted,
    in_shards_of,
    linear,
    predictions,
    reasons,
    rows,
    run_steps,
)

OUT = {"small": "x < 3", "odd": "id % 2 = 1"}


def published(place: Place, **job: Any) -> Manifest:
    return run_steps(place.run(place.job(**job)))


def left_out(manifest: Manifest) -> dict[int, str]:
    """The reason of each row that is left out, by its number."""
    assert manifest.left_out is not None
    found = pq.ParquetFile(manifest.left_out.uri).read().to_pylist()
    return {row["row"]: row["reason"] for row in found}


def test_rows_in_are_scored_quarantined_and_left_out(empty: Place):
    empty.source(rows(10, x=[float(n) for n in range(1, 10)] + [None]))
    empty.model()
    manifest = published(empty, leave_out=OUT, output={"keep_left_out": True})
    found = manifest.rows
    assert (found.rows_in, found.scored, found.quarantined, found.left_out) == (10, 3, 1, 6)
    assert found.left_out_reasons == {"small": 2, "odd": 4}
    assert found.reasons == {"missing_value: x": 1}
    assert predictions(manifest)["id"].to_pylist() == [4, 6, 8]
    assert reasons(manifest) == {10: ("missing_value", "x")}
    assert left_out(manifest) == {1: "small", 2: "small"} | dict.fromkeys((3, 5, 7, 9), "odd")
    table = pq.ParquetFile(manifest.left_out.uri).read() if manifest.left_out else None
    assert table is not None
    assert table.column_names == ["id", "row", "reason", "column", "value", "partition"]
    assert table["id"].to_pylist() == sorted(left_out(manifest))


def test_they_are_stored_only_where_the_job_keeps_them(empty: Place):
    empty.source(rows(10))
    empty.model()
    assert published(empty, leave_out=OUT).left_out is None
    assert not [name for name in empty.files() if name.startswith("_left_out")]
    published(empty, leave_out=OUT, output={"keep_left_out": True})
    (one,) = [name for name in empty.files() if name.startswith("_left_out")]
    published(empty, leave_out={"small": "x < 5"}, output={"keep_left_out": True})
    (other,) = [name for name in empty.files() if name.startswith("_left_out")]
    assert other != one  # the older one is gone with its publication
    run = empty.run(empty.job())
    assert clean(run.job, run.roots, run.connections, days_kept=-1) == []
    published(empty)
    assert not [name for name in empty.files() if name.startswith("_left_out")]


def test_they_do_not_count_as_quarantined(empty: Place):
    empty.source(rows(10, x=[float(n) for n in range(1, 10)] + [None]))
    empty.model()
    checks = {"max_quarantined_fraction": 0.2}
    # One of ten rows is quarantined, and one of the two that are not left out.
    published(empty, leave_out={"most": "x > 0 AND id > 4"}, checks=checks)
    with pytest.raises(ContractError, match=r"1 of 2 rows \(50.00%\) break the contract"):
        published(empty, leave_out={"most": "id < 9"}, checks=checks)
    with pytest.raises(ContractError, match=r"0 rows came in, besides 10 that are left out, fewer"):
        published(empty, leave_out={"all": "id > 0"})


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        ({"small": 0.2}, None),
        (
            {"small": 0.19},
            r"2 rows \(20.00%\) have the reason small, more than checks.max_fraction",
        ),
        ({"missing_value": 0.125}, None),  # of the eight rows that are not left out
        ({"missing_value": 0.12}, r"1 rows \(12.50%\) have the reason missing_value"),
        ({"duplicate_row_id": 0}, None),
    ],
)
def test_a_single_reason_can_be_limited(
    empty: Place, limits: dict[str, float], refused: str | None
):
    empty.source(rows(10, x=[float(n) for n in range(1, 10)] + [None]))
    empty.model()
    job: dict[str, Any] = {"leave_out": {"small": "x < 3"}, "checks": {"max_fraction": limits}}
    if refused is None:
        gates = {gate.gate for gate in published(empty, **job).gates}
        assert {f"max_fraction.{reason}" for reason in limits} <= gates
        return
    with pytest.raises(ContractError, match=refused):
        published(empty, **job)


def test_a_reason_that_the_job_does_not_have_is_refused(empty: Place):
    with pytest.raises(JobError, match="did you mean missing_value"):
        empty.job(checks={"max_fraction": {"mising_value": 0.1}})
    with pytest.raises(JobError, match="is a reason of quarantined rows"):
        empty.job(leave_out={"below_min": "x < 1"})


def test_derived_columns_are_inputs_ids_and_kept_columns(empty: Place):
    empty.source(pa.table({"a": [1, 2, 3], "b": ["u", "v", "w"], "n": pa.array([1.5, None, 2.5])}))
    empty.model(linear(2.0, ("x", "z")))
    manifest = published(
        empty,
        source={
            "derive": {
                "x": "a * 2.0",
                "z": "x + 1",  # an earlier derived column
                "n": "coalesce(n, 0)",  # in place of the column of the source
                "id": "b || '-' || a",
            }
        },
        inputs={"x": {"type": "float64"}, "z": {"type": "float64"}},
        output={"keep": ["n"]},
    )
    found = predictions(manifest).to_pydict()
    assert found["id"] == ["u-1", "v-2", "w-3"]
    assert found["n"] == [1.5, 0.0, 2.5]
    assert found["y"] == pytest.approx([2 * (2 * a + 2 * a + 1) for a in (1, 2, 3)])


def test_an_expression_that_takes_text_of_a_csv_file_for_a_number_says_how_to_cast(empty: Place):
    empty.csv("id,x,year\n1,1.5,2007\n")
    empty.model()
    source = {"uri": "{data}/source/{partition}.csv"}
    with pytest.raises(JobError, match=r"that are not inputs are text: write CAST\(COLUMN AS"):
        published(empty, source=source | {"derive": {"age": "2025 - year"}})
    with pytest.raises(JobError) as error:
        published(empty, source=source | {"derive": {"age": "x + date '2013-01-01'"}})
    assert "CAST(COLUMN" not in str(error.value)


def test_the_expressions_of_a_csv_file_read_inputs_in_their_types(empty: Place):
    empty.csv("id,x,fee\n1,1.5,0.5\n2,10.5,oops\n3,2.5,\n4,bad,1\n")
    empty.model(linear(2.0, ("x", "cost")))
    manifest = published(
        empty,
        source={
            "uri": "{data}/source/{partition}.csv",
            "derive": {"cost": "coalesce(TRY_CAST(fee AS DOUBLE), 9)"},
        },
        inputs={"x": {"type": "float64"}, "cost": {"type": "float64"}},
        leave_out={"long": "x > 9.5"},
    )
    assert manifest.rows.left_out_reasons == {"long": 1}
    assert reasons(manifest) == {4: ("wrong_type", "x")}
    assert predictions(manifest)["y"].to_pylist() == pytest.approx([4.0, 23.0])


def test_a_row_is_judged_alone_in_any_batch_and_shard(empty: Place):
    count = 3_000
    chance = np.random.default_rng(7)
    empty.source(rows(count, x=chance.normal(size=count)), row_group_size=700)
    empty.model()
    job = empty.job(
        source={"derive": {"x": "round(x, 3)"}},
        leave_out={"high": "x > 1", "low": "x < -1"},
        output={"keep_left_out": True},
    )
    seen = set()
    for shard_rows in (137, 1_000, 10_000):
        manifest = run_steps(empty.run(in_shards_of(job, shard_rows)))
        scored = predictions(manifest)
        seen.add((tuple(scored["id"].to_pylist()), tuple(scored["y"].to_pylist())))
        assert manifest.rows.scored + manifest.rows.left_out == count
    assert len(seen) == 1


def test_what_is_wrong_with_expressions_is_named_with_its_line(empty: Place):
    empty.source(rows(3))
    empty.model()
    job = empty.job(source={"derive": {"z": "sum(x)"}}, leave_out={"a": "x >", "b": "random() < x"})
    with pytest.raises(JobError) as error:
        extracted(empty.run(job))
    lines = str(error.value).splitlines()
    assert lines[0].endswith("is not a valid job file (3 problems):")
    assert [line.split(": ")[0].split(", ")[1] for line in lines[1:]] == [
        "source.derive.z",
        "leave_out.a",
        "leave_out.b",
    ]


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        ({"leave_out": {"a": "nosuch > 1"}}, SourceError, "has no column 'nosuch'"),
        ({"leave_out": {"a": "X > 1"}}, SourceError, "no column 'X'.*perhaps 'x' for 'X'"),
        (
            {"source": {"derive": {"X": "id"}}, "leave_out": {"a": "x > X"}},
            JobError,
            "only in case",
        ),
        (
            {"leave_out": {"a": "CAST(word AS INTEGER) > 1"}},
            SourceError,
            r"leave_out.a fails for a row with word=two: .*Could not convert",
        ),
        (
            {"leave_out": {"a": "x || 'b' || (x + date '2013-01-01')"}},
            JobError,
            "leave_out.a: does not fit the columns of",
        ),
    ],
)
def test_an_expression_that_fails_names_itself_and_the_row(
    empty: Place, job: dict[str, Any], error: type[Exception], message: str
):
    empty.source(rows(4, word=["1", "1", "two", "1"]))
    empty.model()
    with pytest.raises(error, match=message):
        published(empty, **job)
    assert empty.files() == []


def test_a_scorer_leaves_rows_out_with_a_reason(empty: Place):
    empty.source(rows(6))
    empty.model()
    code = (
        "import pandas as pd\n"
        "def run(df, model):\n"
        "    y = pd.Series(model.predict(df), index=df.index).where(df.x != 2)\n"
        "    why = pd.Series(None, index=df.index, dtype=object)\n"
        "    why[df.x > 4] = 'too_far'\n"
        "    return pd.DataFrame({'y': y, 'left_out': why})\n"
    )
    manifest = published(
        empty, scorer=empty.scorer(code), output={"keep_left_out": True}, run={"shard_rows": 1000}
    )
    assert (manifest.rows.scored, manifest.rows.quarantined, manifest.rows.left_out) == (3, 1, 2)
    assert manifest.rows.left_out_reasons == {"too_far": 2}
    assert left_out(manifest) == {5: "too_far", 6: "too_far"}
    assert reasons(manifest) == {2: ("null_prediction", "y")}
    assert "left_out" not in predictions(manifest).column_names
    code = code.replace("'too_far'", "'not a name'")
    with pytest.raises(ScorerError, match="'not a name' in the column 'left_out'"):
        published(empty, scorer=empty.scorer(code))
    code = code.replace("'not a name'", "'below_min'")
    with pytest.raises(ScorerError, match="one of quarantined rows"):
        published(empty, scorer=empty.scorer(code))


def test_a_published_month_is_verified_with_what_it_left_out(empty: Place):
    empty.source(rows(10))
    empty.model()
    run = empty.run(empty.job(leave_out=OUT, output={"keep_left_out": True}))
    manifest = run_steps(run)
    verify_partition(run)
    assert manifest.left_out is not None
    Path(manifest.left_out.uri).write_bytes(b"other")
    with pytest.raises(Exception, match="is not what was published"):
        verify_partition(run)


def test_the_rehearsal_counts_them_too(empty: Place):
    empty.source(rows(10))
    empty.model()
    found = rehearse(empty.run(empty.job(leave_out=OUT)))
    assert found.tally is not None
    assert (found.tally.left_out, found.tally.rows_wanted) == ({"small": 2, "odd": 4}, 4)


def days(count: int, first: datetime) -> pa.Table:
    """A row for each six hours from ``first`` on."""
    moments = [first + timedelta(hours=6 * n) for n in range(count * 4)]
    return pa.table(
        {
            "id": list(range(len(moments))),
            "x": [float(n) for n in range(len(moments))],
            "at": pa.array(moments, pa.timestamp("us", "UTC")),
        }
    )


def weekly(place: Place, **changes: Any) -> JobFile:
    """A job of weeks whose source is a file for each month."""
    first = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-W05"}
    source = {"uri": "{data}/source/{year}-{month}.parquet", "date_column": "at"}
    return place.job(
        source=source | {"outside_partition": "leave_out"},
        partition="week",
        schedule="0 3 * * 2",
        start="2013-W05",
        model={"versions": [first]},
        **changes,
    )


def test_hours_are_cut_from_a_file_of_a_day_and_a_week_from_those_of_two_months(empty: Place):
    empty.model()
    outside = {"date_column": "at", "outside_partition": "leave_out"}
    broken = days(1, datetime(2013, 2, 5, tzinfo=UTC))
    # A row of another hour is left out, whatever else is wrong with it.
    broken = broken.set_column(1, "x", pa.array([0.0, None, 2.0, 3.0]))
    empty.source(broken, "2013-02-05.parquet")
    hours = empty.job(
        source={"uri": "{data}/source/{year}-{month}-{day}.parquet", **outside},
        partition="hour",
        schedule="5 * * * *",
        start="2013-02-05T00+0000",
        model={"versions": [{"version": "v1", "uri": "{models}/v1.skops",
                             "in_force_from": "2013-02-05T00+0000"}]},
    )  # fmt: skip
    manifest = run_steps(empty.run(hours, "2013-02-05T12+0000"))
    assert (manifest.rows.rows_in, manifest.rows.scored, manifest.rows.left_out) == (4, 1, 3)
    assert manifest.rows.left_out_reasons == {"outside_partition": 3}
    assert predictions(manifest)["id"].to_pylist() == [2]

    empty.source(days(28, datetime(2013, 2, 1, tzinfo=UTC)), "2013-02.parquet")
    march = days(31, datetime(2013, 3, 1, tzinfo=UTC))
    march = march.set_column(0, "id", pa.array(range(1_000, 1_000 + march.num_rows)))
    empty.source(march, "2013-03.parquet")
    weeks = weekly(empty, destination={"uri": "{data}/weeks"})
    manifest = run_steps(empty.run(weeks, "2013-W09"))  # 25 February to 3 March
    assert [file.uri[-15:] for file in manifest.source.files] == [
        "2013-02.parquet",
        "2013-03.parquet",
    ]
    assert manifest.rows.scored == 7 * 4
    assert predictions(manifest)["id"].to_pylist() == [*range(24 * 4, 28 * 4), *range(1_000, 1_012)]
    within = run_steps(empty.run(weeks, "2013-W06"))
    assert [file.uri[-15:] for file in within.source.files] == ["2013-02.parquet"]


def test_a_null_date_is_quarantined_where_other_partitions_are_left_out(empty: Place):
    moments = pa.array(["2013-02-05", None, "2013-03-05"]).cast(pa.timestamp("us"))
    empty.source(rows(3, at=moments))
    empty.model()
    manifest = published(empty, source={"date_column": "at", "outside_partition": "leave_out"})
    assert (manifest.rows.scored, manifest.rows.left_out) == (1, 1)
    assert reasons(manifest) == {2: ("outside_partition", "at")}


def test_a_source_of_several_partitions_needs_a_date_column(empty: Place):
    with pytest.raises(JobError, match="outside_partition: leave_out requires date_column"):
        empty.job(source={"outside_partition": "leave_out"})


def test_both_months_of_a_week_have_to_be_there(empty: Place):
    empty.source(days(28, datetime(2013, 2, 1, tzinfo=UTC)), "2013-02.parquet")
    empty.model()
    weeks = weekly(empty)
    with pytest.raises(SourceError, match=r"is not there: .*2013-03.parquet"):
        extracted(empty.run(weeks, "2013-W09"))


JOINED = {"id": "CAST(id AS VARCHAR)", "first": "coalesce(a, 0)", "name": "first || '_' || b"}
CAST = JOINED | {"name": "CAST(a AS BIGINT) || '_' || CAST(b AS BIGINT)"}


def pairs(kind: pa.DataType) -> pa.Table:
    return rows(2, a=pa.array([1, 2], kind), b=pa.array([3, 4], pa.int64()))


def test_files_that_store_a_column_in_two_types_would_give_two_texts(empty: Place):
    empty.source(pairs(pa.int64()), "2013-02/a.parquet")
    table = pairs(pa.float64())
    empty.source(table.set_column(0, "id", pa.array([3, 4])), "2013-02/b.parquet")
    empty.model()
    where = {"uri": "{data}/source/{partition}/*.parquet"}
    with pytest.raises(SourceError, match=r"b.parquet: the column 'a' is stored as double, and as"):
        published(empty, source=where | {"derive": JOINED}, output={"keep": ["name"]})
    found = predictions(
        published(empty, source=where | {"derive": CAST}, output={"keep": ["name"]})
    )
    assert found["name"].to_pylist() == ["1_3", "2_4", "1_3", "2_4"]


def test_so_would_months(empty: Place):
    empty.source(pairs(pa.int64()))
    empty.source(pairs(pa.float64()), "2013-03.parquet")
    empty.model()
    job = empty.job(source={"derive": JOINED}, output={"keep": ["name"]})
    manifest = run_steps(empty.run(job))
    assert manifest.source_types == {"id": "int64", "a": "int64", "b": "int64"}
    with pytest.raises(SourceError, match=r"as double, and as int64 in 2013-02. An expression"):
        extracted(empty.run(job, "2013-03"))
    cast = empty.job(source={"derive": CAST}, output={"keep": ["name"]})
    found = predictions(run_steps(empty.run(cast, "2013-03")))
    assert found["name"].to_pylist() == ["1_3", "2_4"]
