"""``scoring sample``: some rows of a month as the model gets them, which can be scored again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from scoring.cli.main import main
from scoring.errors import PublicationError
from scoring.pipeline.sample import sample, write_sample
from scoring.pipeline.trial import try_rows
from tests.scoring.factories import MONTH, Place, linear, predictions, rows, run_steps

DERIVED: dict[str, Any] = {
    "source": {"derive": {"x": "raw / 3.0", "raw": "raw + 1"}},
    "leave_out": {"too_small": "x < 1"},
    "output": {"keep": ["note"]},
}


def in_folder(place: Place) -> list[str]:
    return ["--jobs", str(place.folder), "--data", str(place.data)]


def ids(table: pa.Table) -> list[int]:
    return table.column("id").to_pylist()


def test_the_same_rows_each_time_and_a_smaller_sample_is_part_of_a_larger_one(place: Place):
    place.source(rows(5000), row_group_size=700)
    small, again, large = (ids(sample(place.run(), count).table) for count in (20, 20, 400))
    place.source(rows(5000), row_group_size=5000)
    assert small == again == ids(sample(place.run(), 20).table)
    assert (len(set(small)), len(set(large))) == (20, 400)
    assert set(small) < set(large)
    assert large == sorted(large)


def test_rows_are_spread_over_the_month(place: Place):
    place.source(rows(200_000))  # two batches
    tenths = np.bincount((np.array(ids(sample(place.run(), 1000).table)) - 1) // 20_000)
    assert len(tenths) == 10
    assert 60 < tenths.min() <= tenths.max() < 140  # 100 on average, 9.5 its standard deviation


def test_rows_that_are_not_to_be_scored_are_not_among_them(place: Place):
    place.source(rows(5, x=[1.0, None, 3.0, float("inf"), 5.0]))
    found = sample(place.run(place.job(leave_out={"five": "x = 5"})), 10)
    assert found.table.to_pydict() == {"id": [1, 3], "x": [1.0, 3.0]}
    assert (found.rows_in, found.rows_to_score) == (5, 2)


def test_a_month_without_rows_gives_the_columns(place: Place):
    place.source(rows(3).slice(0, 0))
    found = sample(place.run(), 10)
    assert (found.table.column_names, found.table.num_rows) == (["id", "x"], 0)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_sample_is_scored_to_the_bits_of_the_month(empty: Place, suffix: str):
    raw = [float(i) / 7 for i in range(300)]
    note = ["a", None, "c"] * 100
    empty.source(rows(300, raw=raw, note=note).drop_columns("x"))
    empty.model(linear(1 / 7))
    job = empty.job(**DERIVED)
    month = {row["id"]: row for row in predictions(run_steps(empty.run(job))).to_pylist()}
    found = sample(empty.run(job), 50)
    name = f"sample.{suffix}"
    write_sample(found.table, empty.data / "source" / name)
    source = {**DERIVED["source"], "uri": f"{{data}}/source/{name}"}
    derive = source["derive"]
    if suffix == "csv":  # where a column that is not an input is text
        derive = {"x": "CAST(raw AS DOUBLE) / 3.0", "raw": "CAST(raw AS DOUBLE) + 1"}
    again = empty.job(
        **{**DERIVED, "source": source | {"derive": derive}}, destination={"uri": "b"}
    )
    scored = predictions(run_steps(empty.run(again))).to_pylist()
    assert len(scored) == 50
    for row in scored:
        wanted = month[int(row["id"])]
        assert row["y"] == wanted["y"]
        assert (row["note"] or None) == wanted["note"]


def test_a_csv_month_becomes_typed_columns(empty: Place):
    empty.csv("id,x,at,flag\n1,1.5,2013-02-01 03:00,true\n2,2,2013-02-02 04:00,false\n")
    empty.model()
    job = empty.job(
        source={"uri": "{data}/source/{partition}.csv"},
        inputs={
            "x": {"type": "float64"},
            "at": {"type": "timestamp"},
            "flag": {"type": "boolean"},
        },
        row_id=["id"],
    )
    table = sample(empty.run(job), 10).table
    assert {f.name: str(f.type) for f in table.schema} == {
        "id": "string",
        "x": "double",
        "at": str(table.schema.field("at").type),
        "flag": "bool",
    }
    assert pa.types.is_timestamp(table.schema.field("at").type)
    assert table.column("x").to_pylist() == [1.5, 2.0]


def test_the_command_writes_a_file_and_says_what_is_in_it(
    place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    place.job()
    before = place.files()
    out = tmp_path / "look.parquet"
    command = ["sample", "sample", MONTH, *in_folder(place), "--out", str(out)]
    assert main([*command, "--rows", "4"]) == 0
    assert f"{out}: 4 of the 10 rows of sample 2013-02 that are to be scored" in (
        capsys.readouterr().out
    )
    table = pq.read_table(out)
    assert (table.column_names, table.num_rows) == (["id", "x"], 4)
    assert place.files() == before
    assert main([*command, "--rows", "3", "--force", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rows"], facts["rows_to_score"], facts["rows_in"]) == (3, 10, 10)
    assert facts["columns"] == {"id": "int64", "x": "double"}
    csv = out.with_suffix(".csv")
    assert main(["sample", "sample", MONTH, *in_folder(place), "--out", str(csv)]) == 0
    assert pa.csv.read_csv(csv).num_rows == 10


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
    place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    place.job()
    out = tmp_path / "look.parquet"
    out.write_bytes(b"mine")
    (place.data / "source" / f"{MONTH}.parquet").unlink()  # seen before anything is read
    assert main(["sample", "sample", MONTH, *in_folder(place), "--out", str(out)]) == 7
    assert "is there already, and was left as it is; --force" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"


@pytest.mark.parametrize("what", ["source", "published", "beside what is published"])
def test_a_sample_does_not_replace_what_it_is_made_of(
    place: Place, capsys: pytest.CaptureFixture[str], what: str
):
    run_steps(place.run(place.job()))
    out = {
        "source": place.data / "source" / f"{MONTH}.parquet",
        "published": place.out / f"month={MONTH}" / "predictions.parquet",
        "beside what is published": place.out / "look.parquet",
    }[what]
    before = out.read_bytes() if out.exists() else None
    command = ["sample", "sample", MONTH, *in_folder(place), "--out", str(out), "--force"]
    assert main(command) == 7
    assert "name another file" in capsys.readouterr().err
    assert (out.read_bytes() if out.exists() else None) == before


def test_what_cannot_be_written_leaves_nothing(place: Place, tmp_path: Path):
    place.source(rows(3, tags=[[1], [2], [3]]))
    table = pa.table({"tags": [[1], [2]]})
    with pytest.raises(PublicationError, match=r"look\.csv cannot be written"):
        write_sample(table, tmp_path / "look.csv")
    assert not list(tmp_path.glob("*look*"))


def test_the_name_of_the_file_says_its_format(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["sample", "sample", MONTH, "--out", "look.xlsx"])
    assert ended.value.code == 2
    assert "'look.xlsx' does not end in .parquet or .csv" in capsys.readouterr().err


def test_the_rows_of_a_query_can_be_sampled_and_tried(place: Place):
    query = "SELECT id, x * 2 AS x FROM source ORDER BY id"
    run = place.run(place.job(source={"sql": query}))
    assert sample(run, 3).table.num_rows == 3
    assert sample(run, 10).table.column("x").to_pylist() == [2.0 * i for i in range(1, 11)]
    assert [row.inputs for row in try_rows(run, 2).rows] == [{"x": 2.0}, {"x": 4.0}]
