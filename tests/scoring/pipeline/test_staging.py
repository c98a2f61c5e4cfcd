from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from devstack.services.object_store import ObjectStore
from scoring.errors import PublicationError
from scoring.pipeline.staging import Staged, read_staged, staged_schema, staged_writer
from scoring.storage.local import LocalStorage
from tests.s3_server import storage_for


def stage(folder: Path, *tables: pa.Table, name: str = "rows-00000.arrow") -> Staged:
    with staged_writer(3, f"{folder}/{name}", LocalStorage()) as writer:
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
    assert [table.to_pylist() for table in read_staged(staged, LocalStorage())] == [
        ONE.to_pylist(),
        OTHER.to_pylist(),
    ]
    assert staged_schema(staged, LocalStorage()) == ONE.schema


def test_columns_can_be_picked(tmp_path: Path):
    tables = list(read_staged(stage(tmp_path, ONE, OTHER), LocalStorage(), ["place"]))
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
    assert sum(table.num_rows for table in read_staged(staged, LocalStorage())) == 0
    assert staged_schema(staged, LocalStorage()) == ONE.schema


def test_if_nothing_is_written_nothing_is_there(tmp_path: Path):
    with staged_writer(0, f"{tmp_path}/x.arrow", LocalStorage()) as writer:
        assert writer.close() is None
    assert list(tmp_path.iterdir()) == []


def test_if_writing_is_broken_off_nothing_is_there(tmp_path: Path):
    with staged_writer(0, f"{tmp_path}/x.arrow", LocalStorage()) as writer:
        writer.write(ONE)
        with pytest.raises(pa.ArrowInvalid):
            writer.write(ONE.select(["id"]))
    assert list(tmp_path.iterdir()) == []


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (Path.unlink, "is missing or incomplete"),
        (flip_a_bit, "differs from what the previous step wrote"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-8]),
            "differs from what the previous step wrote",
        ),
        (lambda path: path.write_bytes(b""), "differs from what the previous step wrote"),
        (
            lambda path: stage(path.parent, OTHER, name=path.name),
            "differs from what the previous step wrote",
        ),
    ],
)
@pytest.mark.parametrize("read", [lambda *staged: list(read_staged(*staged)), staged_schema])
def test_a_staged_table_that_is_not_the_one_meant_is_never_read(
    tmp_path: Path,
    read: Callable[[Staged, LocalStorage], object],
    damage: Callable[[Path], object],
    expected: str,
):
    staged = stage(tmp_path, ONE)
    damage(Path(staged.uri))
    with pytest.raises(PublicationError) as error:
        read(staged, LocalStorage())
    assert f"the staged table {staged.uri} {expected}" in str(error.value)
    assert "Run the whole partition again" in str(error.value)


def test_a_file_that_is_not_a_table_is_never_read(tmp_path: Path):
    path = tmp_path / "x.arrow"
    path.write_bytes(b"no table")
    staged = Staged(number=0, uri=str(path), rows=1, sha256=hashlib.sha256(b"no table").hexdigest())
    with pytest.raises(PublicationError, match="is missing or incomplete"):
        list(read_staged(staged, LocalStorage()))


def test_a_staged_table_from_afar_is_read_without_holding_it_in_memory(
    s3_server: ObjectStore, s3: Any
):
    uri, rows = "s3://scoring/out/_staging/a/rows-00000.arrow", 16_384
    noise = np.random.default_rng(1)
    with staged_writer(0, uri, storage_for(uri)) as writer:
        for _ in range(64):
            writer.write(pa.table({f"c{n}": noise.random(rows) for n in range(20)}))
        staged = writer.close()
    assert staged is not None
    size = s3.head_object(Bucket="scoring", Key=uri.removeprefix("s3://scoring/"))["ContentLength"]
    assert size > 150_000_000

    done = subprocess.run(
        [sys.executable, "-c", READ_AND_MEASURE, staged.model_dump_json()],
        env=os.environ | s3_server.shell_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    count, grown = map(int, done.stdout.split())
    print(f"{grown / 1e6:.0f} MB to read a staged table of {size / 1e6:.0f} MB")
    assert count == 64 * rows
    assert grown < size, "most of it was in memory at once"


READ_AND_MEASURE = """
import re, sys
from pathlib import Path
from scoring.storage.connections import Connections
from scoring.pipeline.staging import Staged, read_staged
def peak():  # of this program alone: getrusage knows that of its parent, too
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+([0-9]+) kB", status)[1]) * 1024
before = peak()
staged = Staged.model_validate_json(sys.argv[1])
storage = Connections().storage(staged.uri)
rows = sum(table.num_rows for table in read_staged(staged, storage))
print(rows, peak() - before)
"""
