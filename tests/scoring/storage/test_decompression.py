"""Sources that are small on the disk and huge in memory: read in bounded memory, or refused.

Each is read in a process of its own, whose peak is the kernel's count of its resident memory.
"""

from __future__ import annotations

import gzip
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.storage.decompression import unpacks_too_far
from tests.scoring.factories import Place

MB = 1 << 20
PEAK_MB = 500  # 140 of them are Python, pandas and pyarrow

READ = """\
import sys
from scoring.errors import ScoringError
from scoring.pipeline.extract import extract
from scoring.job.loader import load_job

from scoring.pipeline.context import PartitionContext

file = load_job(sys.argv[1])
run = PartitionContext(file, file.job.first_partition, file.roots(sys.argv[2]), "a")
try:
    print("rows", extract(run, run.model_file()).rows_in)
except ScoringError as error:
    print("refused", error)
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) // 1024)
"""


def read(place: Place, **changes: object) -> str:
    """What comes of the extract step; fails where it took more memory than it may."""
    place.model()
    job = place.job(**changes)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(job.path), str(place.data)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    *message, peak = done.stdout.splitlines()
    assert int(peak) < PEAK_MB, f"{peak} MB; {message}"
    return "\n".join(message)


def test_small_and_honest_files_may_unpack_as_they_like():
    assert not unpacks_too_far(1, 256 * MB)
    assert not unpacks_too_far(100 * MB, 2000 * MB)
    assert unpacks_too_far(1, 256 * MB + 1)
    assert unpacks_too_far(100 * MB, 2000 * MB + 1)


def test_millions_of_equal_rows_are_read_piece_by_piece(empty: Place):
    rows, kept = 12_000_000, ["a", "b", "c", "d"]
    schema = pa.schema({"id": pa.int64()} | dict.fromkeys(["x", *kept], pa.float64()))
    path = empty.data / "source" / "2013-02.parquet"
    path.parent.mkdir(parents=True)
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=["x", *kept],
        column_encoding={"id": "DELTA_BINARY_PACKED"},
    ) as writer:  # fmt: skip
        for start in range(0, rows, 1_000_000):
            zeros = dict.fromkeys(["x", *kept], np.zeros(1_000_000))
            ids = np.arange(start, start + 1_000_000)
            writer.write_table(pa.table({"id": ids} | zeros, schema=schema))
    assert path.stat().st_size < 2 * MB  # and 576 MB in memory
    message = read(empty, output={"keep": kept}, run={"shard_rows": 3_000_000})
    assert message == f"rows {rows}"


def test_a_giant_page_is_refused(empty: Place):
    rows = 40_000_000
    table = pa.table({"id": pa.nulls(rows, pa.int8()), "x": np.zeros(rows)})
    path = empty.source(
        table, compression="zstd", use_dictionary=False, row_group_size=rows,
        data_page_size=MB << 10, write_batch_size=rows, max_rows_per_page=rows,
    )  # fmt: skip
    assert path.stat().st_size < MB
    message = read(empty)
    assert f"refused {path}: 'x' has " in message
    assert "bytes in row group 1 that unpack to 320," in message
    assert "If they are meant to, write the file with smaller row groups" in message


def test_a_giant_text_in_a_cell_is_refused(empty: Place):
    table = pa.table({"id": [1], "x": ["x" * (300 * MB)]})
    path = empty.source(table, compression="zstd")
    assert path.stat().st_size < MB
    assert f"refused {path}: 'x' has " in read(empty, inputs={"x": {"type": "string"}})


def test_what_the_job_does_not_read_may_be_anything(empty: Place):
    table = pa.table({"id": [1], "x": [1.0], "more": ["x" * (300 * MB)]})
    empty.source(table, compression="zstd")
    assert read(empty) == "rows 1"


def _endless(start: bytes, piece: bytes, pieces: int) -> bytes:
    """Gzipped CSV: ``start``, then ``piece`` over and over."""
    return gzip.compress(start) + gzip.compress(piece) * pieces


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"id,", "refused "),  # in the line of names
        (b"id,x\n1,", "line 2 has more than 4,194,304 bytes"),
    ],
    ids=["names", "row"],
)
def test_an_endless_line_is_refused(empty: Place, start: bytes, expected: str):
    path = empty.csv(_endless(start, b"9" * (64 * MB), 20), "2013-02.csv.gz")
    assert path.stat().st_size < 2 * MB  # and 1.3 GB in memory
    source = {"uri": "{data}/source/2013-02.csv.gz"}
    found = read(empty, source=source)
    assert found.startswith("refused ")
    assert expected in found


def test_a_column_nested_too_deep_is_an_error_of_the_source(empty: Place):
    kind: pa.DataType = pa.int64()
    for _ in range(500):
        kind = pa.struct([("a", kind)])
    path = empty.source(pa.table({"id": [1], "x": pa.nulls(1, kind)}), store_schema=False)
    assert f"refused {path} cannot be read: Parquet schema too deeply nested" in read(empty)
