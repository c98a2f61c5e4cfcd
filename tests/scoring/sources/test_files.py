from __future__ import annotations

import gzip
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.errors import SourceError, SourceMissingError
from scoring.sources import csv_text
from scoring.sources.base import Source, open_source
from tests.scoring.factories import MONTH, Place, as_nobody, rows

CSV = {"source": {"uri": "{data}/source/{partition}.csv"}}
ALL_FILES = {"source": {"uri": "{data}/source/*.parquet"}}


def source_of(place: Place, **changes: Any) -> Source:
    run = place.run(place.job(**changes))
    return open_source(run.job, run.partition, run.roots, run.connections)


def read(source: Source, *sizes: int) -> list[pa.Table]:
    def endless() -> Iterator[int]:
        yield from sizes
        yield from itertools.repeat(sizes[-1] if sizes else 1000)

    return list(source.batches(endless()))


def one_table(source: Source) -> dict[str, list[Any]]:
    (table,) = read(source)
    return table.to_pydict()


def test_only_the_columns_of_the_job_are_read_in_its_order(empty: Place):
    empty.source(rows(3, other=[1, 2, 3], place=["a", "b", "c"]))
    source = source_of(empty, output={"keep": ["place"]})
    (table,) = read(source)
    assert table.column_names == ["id", "x", "place"]
    assert table.num_rows == source.rows == 3


def test_the_files_are_recorded_with_size_and_digest(empty: Place):
    path = empty.source(pa.table({"id": [1], "x": [1.0]}))
    (file,) = source_of(empty).files
    assert file.uri == str(path)
    assert file.bytes == path.stat().st_size
    assert len(file.sha256) == 64


def test_a_file_must_have_the_digest_that_the_job_gives_for_its_month(empty: Place):
    path = empty.source(pa.table({"id": [1], "x": [1.0]}))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    right = {MONTH: digest, "2013-03": "0" * 64}
    assert source_of(empty, source={"sha256": right}).files[0].sha256 == digest
    assert source_of(empty, source={"sha256": {"2013-03": "0" * 64}}).files[0].sha256 == digest
    with pytest.raises(SourceError) as error:
        source_of(empty, source={"sha256": {MONTH: "0" * 64}})
    assert str(error.value) == (
        f"{path} is not the file that source.sha256 in the job file names: its digest is {digest}, "
        f"and {'0' * 64} was expected"
    )


def test_a_source_that_is_not_there_is_named(empty: Place):
    with pytest.raises(SourceMissingError) as error:
        source_of(empty)
    assert f"the source of sample {MONTH} is not there: {empty.data}/source/{MONTH}.parquet" in str(
        error.value
    )


def test_a_missing_column_is_named_beside_those_that_are_there(empty: Place):
    empty.source(pa.table({"id": [1], "z": [1.0]}))
    with pytest.raises(SourceError, match=r"2013-02\.parquet has no column 'x'; it has id, z\."):
        read(source_of(empty))
    empty.csv("id;x\n1;2\n")
    with pytest.raises(SourceError, match=r"2013-02\.csv has no column 'id', 'x'; it has id;x\."):
        read(source_of(empty, **CSV))


@pytest.mark.parametrize("sizes", [(3,), (1, 4, 2, 9), (10,), (25,), (1000,)])
@pytest.mark.parametrize("row_group_size", [1, 4, 100])
def test_batches_have_the_sizes_asked_for_however_the_file_is_cut(
    empty: Place, sizes: tuple[int, ...], row_group_size: int
):
    empty.source(rows(25), row_group_size=row_group_size)
    tables = read(source_of(empty), *sizes)
    asked = list(itertools.islice(itertools.chain(sizes, itertools.repeat(sizes[-1])), len(tables)))
    assert [t.num_rows for t in tables[:-1]] == asked[:-1]
    assert 0 < tables[-1].num_rows <= asked[-1]
    assert pa.concat_tables(tables).column("id").to_pylist() == list(range(1, 26))


def test_a_source_without_rows_is_one_empty_table(empty: Place):
    empty.source(rows(0).cast(pa.schema({"id": pa.int64(), "x": pa.float64()})))
    (table,) = read(source_of(empty))
    assert (table.num_rows, table.column_names) == (0, ["id", "x"])
    empty.csv("x,id\n")
    (table,) = read(source_of(empty, **CSV))
    assert (table.num_rows, table.column_names) == (0, ["id", "x"])


def test_files_of_a_pattern_are_read_in_the_order_of_their_names(empty: Place):
    for name, ids in {"b": [3], "a": [1, 2], "d": [], "c": [4, 5]}.items():
        columns = {"id": pa.array(ids, pa.int64()), "x": pa.array(map(float, ids), pa.float64())}
        empty.source(pa.table(columns), f"{name}.parquet")
    source = source_of(empty, **ALL_FILES)
    assert source.rows == 5
    assert pa.concat_tables(read(source, 2)).column("id").to_pylist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["a", "b"] * 50), pa.array([f"long text {i}" * 9 for i in range(100)])),
        (pa.array(["a"] * 100), pa.array(["b"] * 100, pa.large_string())),
        (pa.array(["a"] * 100), pa.array(["b"] * 100).dictionary_encode()),
        (pa.array(["a"] * 100), pa.nulls(100)),
        (pa.nulls(100, pa.string()), pa.array(["a"] * 100, pa.string_view())),
        (pa.array(range(100), pa.int8()), pa.array(range(100), pa.int64())),
        (pa.array(range(100), pa.int32()), pa.array([i / 2 for i in range(100)])),
        (pa.array(range(100), pa.float32()), pa.array(range(100), pa.float64())),
    ],
    ids=lambda values: "" if not isinstance(values, pa.Array) else str(values.type),
)
def test_files_that_store_a_column_in_different_types_are_one_source(
    empty: Place, one: pa.Array, other: pa.Array, size: int
):
    empty.source(rows(100, place=one), "1.parquet")
    empty.source(rows(100, place=other), "2.parquet", row_group_size=30)
    tables = read(source_of(empty, **ALL_FILES, output={"keep": ["place"]}), 150, size)
    found = [value for table in tables for value in table.column("place").to_pylist()]
    assert found == [*one.to_pylist(), *other.to_pylist()]


def test_files_whose_columns_cannot_be_one_are_named(empty: Place):
    empty.source(rows(100, place=["a"] * 100), "1.parquet")
    empty.source(rows(100, place=[1] * 100), "2.parquet")
    with pytest.raises(SourceError, match=r"the column 'place' comes in different types"):
        read(source_of(empty, **ALL_FILES, output={"keep": ["place"]}), 150)


def test_repetitive_text_stays_a_dictionary_and_other_text_does_not(empty: Place):
    count = 20_000
    table = rows(
        count,
        few=[f"kind {i % 7}" for i in range(count)],
        many=[f"a text of its own {i}" for i in range(count)],
    )
    empty.source(table)
    (found,) = read(source_of(empty, output={"keep": ["few", "many"]}), count)
    assert pa.types.is_dictionary(found.column("few").type)
    assert pa.types.is_string(found.column("many").type)
    assert found.column("few").to_pylist() == table.column("few").to_pylist()


def test_nested_columns_beside_those_of_the_job_do_no_harm(empty: Place):
    table = pa.table({"deep": [{"a": 1, "b": "x"}], "id": [1], "many": [[1, 2]], "x": [2.0]})
    empty.source(table.append_column("place", pa.array(["here"])))
    (found,) = read(source_of(empty, output={"keep": ["place"]}))
    assert found.to_pylist() == [{"id": 1, "x": 2.0, "place": "here"}]


def test_a_csv_is_read_as_text(empty: Place):
    empty.csv("x,id,more\n1.5,0007,z\n,8,z\n")
    source = source_of(empty, **CSV)
    assert source.text_only
    assert source.rows is None
    assert one_table(source) == {"id": ["0007", "8"], "x": ["1.5", None]}


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffid,x\n1,2\n",
        '"id","x"\r\n"1","2"\r\n',
        "id,x\n1,2",
    ],
)
def test_the_csv_of_other_programs_is_read(empty: Place, text: str):
    empty.csv(text)
    assert one_table(source_of(empty, **CSV)) == {"id": ["1"], "x": ["2"]}


def test_a_zipped_csv_is_read(empty: Place):
    empty.csv(gzip.compress(b"id,x\n1,2\n"), f"{MONTH}.csv.gz")
    source = source_of(empty, source={"uri": "{data}/source/{partition}.csv.gz"})
    assert one_table(source) == {"id": ["1"], "x": ["2"]}


def test_text_of_several_lines_is_read_wherever_a_block_ends(
    empty: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(csv_text, "BLOCK_BYTES", 64)
    texts = [f"first {i}\nsecond\n{i},third" for i in range(50)]
    empty.csv("id,x,place\n" + "".join(f'{i},1,"{text}"\n' for i, text in enumerate(texts)))
    tables = read(source_of(empty, **CSV, output={"keep": ["place"]}), 7)
    assert [t for table in tables for t in table.column("place").to_pylist()] == texts


CSV_TEXTS = {
    "id,x\n1,2\n3,4\n": [["1", "3"], ["2", "4"]],
    "id,x\n1,2\n3,4": [["1", "3"], ["2", "4"]],
    "id,x": [[], []],
    "\n\nid,x\n\n1,2\r\n\r\n3,4\r\n": [["1", "3"], ["2", "4"]],
    "id,x\r1,2\r3,4\r": [["1", "3"], ["2", "4"]],
    "\ufeffid,x\n1,2\n": [["1"], ["2"]],
    'id,x\n1,"a\r\nb"\r\n2,"c\rd"\r\n': [["1", "2"], ["a\r\nb", "c\rd"]],
    'id,x\n1,5" pipe\n2,6\n': [["1", "2"], ['5" pipe', "6"]],
    'id,x\n1,"say ""no"""\n': [["1"], ['say "no"']],
    '"id",x\n1,NA\n2,"NULL"\n3,""\n': [["1", "2", "3"], [None, None, None]],
    "id,more,x,more\n1,a,2,b\n": [["1"], ["2"]],
    "id,x\n" + "".join(f"{i},€\n" for i in range(50)) + '50,"€"\n': [[str(i) for i in range(51)], ["€"] * 51],
}  # fmt: skip
"""CSV files, and the ids and values of ``x`` in them."""


@pytest.mark.parametrize("block", [16, 64, csv_text.BLOCK_BYTES])
@pytest.mark.parametrize("text", CSV_TEXTS, ids=[f"file {i}" for i in range(len(CSV_TEXTS))])
def test_a_csv_is_the_same_wherever_a_block_of_it_ends(
    empty: Place, monkeypatch: pytest.MonkeyPatch, text: str, block: int
):
    monkeypatch.setattr(csv_text, "BLOCK_BYTES", block)
    empty.csv(text)
    found = pa.concat_tables(read(source_of(empty, **CSV)))
    assert [found["id"].to_pylist(), found["x"].to_pylist()] == CSV_TEXTS[text]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"id,x\n1,2\n1,2,3\n", "line 3 begins a row of 3 fields, and the header has 2"),
        (
            b"id,x\n" + b"1,2\n" * 9000 + b"1,\xe4\n",
            "line 9,002 is not UTF-8 (0xe4 after 2 bytes of the line)",
        ),
        (b"id,x,gr\xf6\xdfe\n1,2,3\n", "line 1 is not UTF-8 (0xf6 after 7 bytes"),
        (b"", "has no column 'id', 'x'"),
    ],
)
def test_a_csv_that_cannot_be_read_is_named(empty: Place, content: bytes, expected: str):
    path = empty.csv(content)
    with pytest.raises(SourceError) as error:
        read(source_of(empty, **CSV))
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_a_zip_that_is_none_is_named(empty: Place):
    path = empty.csv(b"id,x\n1,2\n", f"{MONTH}.csv.gz")
    source = source_of(empty, source={"uri": "{data}/source/{partition}.csv.gz"})
    with pytest.raises(SourceError, match=f"{path} cannot be read"):
        read(source)


def test_a_parquet_file_that_is_none_or_is_cut_off_is_named(empty: Place):
    path = empty.source(rows(1000))
    whole = path.read_bytes()
    for content in (b"no parquet", whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        source = source_of(empty)
        assert source.rows is None
        with pytest.raises(SourceError, match=f"{path} cannot be read"):
            read(source)


def test_a_parquet_file_that_is_damaged_inside_is_named(empty: Place):
    path = empty.source(rows(1000), compression="zstd")
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"{path} cannot be read"):
        read(source_of(empty))


def test_a_file_that_may_not_be_read_is_named(empty: Place, open_to_all: Path):
    path = open_to_all / "x.parquet"
    pq.write_table(rows(1), path)
    path.chmod(0)
    run = empty.run(empty.job(source={"uri": str(path)}))

    def try_to_read() -> None:
        with pytest.raises(SourceError, match=r"x\.parquet cannot be read: Permission denied"):
            read(open_source(run.job, run.partition, run.roots, run.connections))

    assert as_nobody(try_to_read) == 0


def test_the_footer_of_each_parquet_file_is_read_once(
    empty: Place, monkeypatch: pytest.MonkeyPatch
):
    for name in ("a", "b", "c"):
        empty.source(rows(3), f"{name}.parquet")
    footers: list[int] = []
    read_metadata = pq.read_metadata

    def counted(file: pa.NativeFile) -> pq.FileMetaData:
        found = read_metadata(file)
        footers.append(found.num_rows)
        return found

    monkeypatch.setattr(pq, "read_metadata", counted)
    source = source_of(empty, **ALL_FILES)
    batches = source.batches(itertools.repeat(4))
    next(batches)
    assert source.rows == 9
    assert sum(table.num_rows for table in batches) == 5
    assert footers == [3, 3, 3]
