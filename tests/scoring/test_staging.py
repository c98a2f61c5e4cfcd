from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from scoring.errors import PublicationError
from scoring.staging import Staged, read_staged, staged_schema, staged_writer


def stage(folder: Path, *tables: pa.Table, name: str = "rows-00000.arrow") -> Staged:
    with staged_writer(3, f"{folder}/{name}") as writer:
        for table in tables:
            writer.write(table)
        staged = writer.close()
    assert staged is not None
    return staged


ONE = pa.table({"id": [1, 2], "place": pa.array(["a", "b"]).dictionary_encode()})
OTHER = pa.table({"id": [3], "place": pa.array(["c"]).dictionary_encode()})


def test_what_is_staged_is_read_again_table_by_table(tmp_path: Path):
    staged = stage(tmp_path, ONE, OTHER)
    assert (staged.number, staged.rows) == (3, 3)
    assert [table.to_pylist() for table in read_staged(staged)] == [
        ONE.to_pylist(),
        OTHER.to_pylist(),
    ]
    assert staged_schema(staged) == ONE.schema


def test_columns_can_be_picked(tmp_path: Path):
    tables = list(read_staged(stage(tmp_path, ONE, OTHER), ["place"]))
    assert [t.column_names for t in tables] == [["place"], ["place"]]


def test_the_same_tables_are_the_same_bytes(tmp_path: Path):
    one = stage(tmp_path, ONE, OTHER, name="a")
    other = stage(tmp_path, ONE, OTHER, name="b")
    assert one.sha256 == other.sha256
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_reference_survives_json(tmp_path: Path):
    staged = stage(tmp_path, ONE)
    assert Staged.model_validate_json(staged.model_dump_json()) == staged


def test_without_rows_the_columns_are_still_known(tmp_path: Path):
    staged = stage(tmp_path, ONE.slice(0, 0))
    assert staged.rows == 0
    assert sum(table.num_rows for table in read_staged(staged)) == 0
    assert staged_schema(staged) == ONE.schema


def test_if_nothing_is_written_nothing_is_there(tmp_path: Path):
    with staged_writer(0, f"{tmp_path}/x.arrow") as writer:
        assert writer.close() is None
    assert list(tmp_path.iterdir()) == []


def test_if_writing_is_broken_off_nothing_is_there(tmp_path: Path):
    with staged_writer(0, f"{tmp_path}/x.arrow") as writer:
        writer.write(ONE)
        with pytest.raises(pa.ArrowInvalid):
            writer.write(ONE.select(["id"]))
    assert list(tmp_path.iterdir()) == []


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (Path.unlink, "is not there or not whole"),
        (flip_a_bit, "has other bytes than the step before wrote"),
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "has other bytes"),
        (lambda path: path.write_bytes(b""), "has other bytes"),
        (lambda path: stage(path.parent, OTHER, name=path.name), "has other bytes"),
    ],
)
@pytest.mark.parametrize("read", [lambda staged: list(read_staged(staged)), staged_schema])
def test_a_staged_table_that_is_not_the_one_meant_is_never_read(
    tmp_path: Path, read: Callable[[Staged], object], damage: Callable[[Path], object], told: str
):
    staged = stage(tmp_path, ONE)
    damage(Path(staged.uri))
    with pytest.raises(PublicationError) as error:
        read(staged)
    assert f"the staged table {staged.uri} {told}" in str(error.value)
    assert "nothing was published. Run the whole partition again" in str(error.value)


def test_a_file_that_is_no_table_is_never_read(tmp_path: Path):
    path = tmp_path / "x.arrow"
    path.write_bytes(b"no table")
    staged = Staged(number=0, uri=str(path), rows=1, sha256=hashlib.sha256(b"no table").hexdigest())
    with pytest.raises(PublicationError, match="is not there or not whole"):
        list(read_staged(staged))
