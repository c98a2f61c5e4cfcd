"""The few quarantined rows that a page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.destinations.examples import QuarantinedRow, quarantine_examples
from scoring.storage.local import LocalStorage
from tests.s3_server import BUCKET
from tests.scoring.factories import Place, in_s3, rows, run_steps


@pytest.fixture
def place(empty: Place) -> Place:
    empty.model()
    return empty


def test_the_first_rows_of_each_rule_with_their_ids_and_values(place: Place):
    lines = ["" if i % 10 == 0 else "x" * 200 if i == 5 else str(i) for i in range(100)]
    place.csv("id,x\n" + "".join(f"{i},{x}\n" for i, x in enumerate(lines, 1)))
    manifest = run_steps(place.run(place.job(source={"uri": "{data}/source/{partition}.csv"})))
    assert manifest.quarantine is not None
    assert manifest.rows.reasons == {"missing_value: x": 10, "wrong_type: x": 1}
    found = quarantine_examples(LocalStorage(), manifest.quarantine.uri, manifest.rows.reasons, 2)
    assert found["missing_value: x"] == [
        QuarantinedRow(1, {"id": "1"}, "x", None),
        QuarantinedRow(11, {"id": "11"}, "x", None),
    ]
    (long,) = found["wrong_type: x"]
    assert long.ids == {"id": "6"}
    assert long.value == "x" * 80 + "… (200 characters)"
    assert quarantine_examples(LocalStorage(), manifest.quarantine.uri, {"a": 1}, 0) == {}


def test_the_rows_of_a_quarantine_in_s3(place: Place, s3: Any):
    place.source(rows(20, x=[None, *map(float, range(19))]))
    for path in place.data.rglob("*.*"):
        s3.upload_file(str(path), BUCKET, f"lake/{path.relative_to(place.data)}")
    run = in_s3(place)
    manifest = run_steps(run)
    assert manifest.quarantine is not None
    found = quarantine_examples(run.storage, manifest.quarantine.uri, manifest.rows.reasons, 3)
    assert found == {"missing_value: x": [QuarantinedRow(1, {"id": "1"}, "x", None)]}
    with pytest.raises(OSError, match="gone"):
        quarantine_examples(run.storage, f"{run.publisher.uri}/gone.parquet", {"a": 1}, 3)


class Counted(LocalStorage):
    """Notes how much of a file is read."""

    def open(self, uri: str) -> pa.NativeFile:
        return pa.PythonFile(_Counting(Path(uri)), mode="r")


class _Counting:
    read_bytes = 0

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        _Counting.read_bytes += len(data)
        return data

    def seek(self, *place: int) -> int:
        return self._file.seek(*place)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self.closed = True
        self._file.close()


def quarantine(path: Path, reasons: list[str], group: int) -> str:
    count = len(reasons)
    table = pa.table(
        {
            "id": pa.array([f"{n:040}" for n in range(count)]),
            "row": pa.array(range(1, count + 1), pa.int64()),
            "reason": pa.array(reasons),
            "column": pa.array([None] * count, pa.string()),
            "value": pa.array([None] * count, pa.string()),
            "partition": pa.array(["2013-02"] * count),
        }
    )
    pq.write_table(table, path, row_group_size=group)
    return str(path)


def test_what_is_read_does_not_grow_with_the_file(tmp_path: Path):
    reasons = ["null_row_id"] * 40_000 + ["duplicate_row_id"]
    uri = quarantine(tmp_path / "q.parquet", reasons, 1_000)
    size = Path(uri).stat().st_size

    def read(counts: dict[str, int], **limit: int) -> tuple[dict[str, list[int]], int]:
        _Counting.read_bytes = 0
        found = quarantine_examples(Counted(), uri, counts, 3, **limit)
        return {rule: [r.row for r in of] for rule, of in found.items()}, _Counting.read_bytes

    found, some = read({"null_row_id": 40_000})
    assert found == {"null_row_id": [1, 2, 3]}
    assert some < size / 2
    found, every = read({"null_row_id": 40_000, "duplicate_row_id": 1})
    assert found == {"null_row_id": [1, 2, 3], "duplicate_row_id": [40_001]}
    assert every > some
    found, limited = read({"null_row_id": 40_000, "duplicate_row_id": 1}, most_bytes=100_000)
    assert found == {"null_row_id": [1, 2, 3]}
    assert limited < every


def test_a_file_that_is_gone_is_an_os_error(tmp_path: Path):
    with pytest.raises(OSError, match="gone"):
        quarantine_examples(LocalStorage(), str(tmp_path / "gone.parquet"), {"a": 1}, 3)
