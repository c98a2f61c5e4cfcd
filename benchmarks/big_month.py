"""One month of many rows: the shell command beside a bare loop, in time and memory.

The month is the flights of 2013-05 repeated; a column ``copy`` keeps the row ids distinct. The bare
loop is what one would write by hand without checks, staging or publication: one process,
scikit-learn's default threads, reads the needed columns, predicts per row group, writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Timed, memory, timed

MONTH = "2013-05"
ROW_GROUP_ROWS = 500_000

_BARE_LOOP = """
import sys
import pyarrow as pa, pyarrow.parquet as pq
import skops.io
source, model_file, target, trusted = sys.argv[1:]
model = skops.io.load(model_file, trusted=trusted.split(","))
inputs = ["carrier", "origin", "dest", "hour", "distance", "dep_delay"]
kept = ["time_hour", "carrier", "flight", "origin", "copy", "dest"]
columns = list(dict.fromkeys(inputs + kept))
file, writer = pq.ParquetFile(source), None
for group in range(file.num_row_groups):
    df = file.read_row_group(group, columns=columns).to_pandas()
    df = df[df["dep_delay"].notna()]
    df["predicted_arr_delay"] = model.predict(df[inputs])
    table = pa.Table.from_pandas(df[kept + ["predicted_arr_delay"]], preserve_index=False)
    writer = writer or pq.ParquetWriter(target, table.schema, compression="zstd")
    writer.write_table(table)
writer.close()
"""


def make_month(flights: Path, folder: Path, rows: int) -> Path:
    """Write the repeated month, if it is not there; return its file."""
    file = folder / f"big/{rows}/flights.parquet"
    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    month = pq.read_table(flights)
    unfinished, written, copy = file.with_suffix(".tmp"), 0, 0
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(unfinished, month.schema.append(pa.field("copy", pa.int32()))) as writer:
        while written < rows:
            part = month.slice(0, rows - written)
            copies = pa.array([copy] * part.num_rows, pa.int32())
            waiting.append(part.append_column("copy", copies))
            written, copy = written + part.num_rows, copy + 1
            if sum(t.num_rows for t in waiting) >= ROW_GROUP_ROWS or written >= rows:
                writer.write_table(pa.concat_tables(waiting), row_group_size=ROW_GROUP_ROWS)
                waiting = []
    unfinished.rename(file)
    return file


def make_job(job_file: Path, source: str, folder: Path, destination: str) -> Path:
    """Return the flight_delay job over the big month, as a job file of its own in ``folder``."""
    text = job_file.read_text(encoding="utf-8")
    old_source = "{data}/flights/year={year}/month={month}/flights.parquet"
    for old, new in {
        "name: flight_delay": "name: big_month",
        old_source: source,
        "row_id: [time_hour, carrier, flight, origin]": (
            "row_id: [time_hour, carrier, flight, origin, copy]"
        ),
        "{data}/predictions/flight_delay": f"{destination}/predictions",
    }.items():
        if old not in text:
            raise SystemExit(f"error: {job_file} no longer contains {old!r}; update {__file__}")
        text = text.replace(old, new)
    path = folder / "big_month.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(data: Path, job_file: Path, folder: Path, rows: int, pairs: int) -> dict[str, object]:
    """Measure bare loop and shell command in turn, ``pairs`` times, and return the figures."""
    from scoring.job.loader import load_job

    source = make_month(data / "flights/year=2013/month=05/flights.parquet", folder, rows)
    job = make_job(job_file, str(source), folder, str(folder))
    loaded = load_job(job).job
    assert loaded.model is not None
    model = data / "models/flight_delay/v1.skops"
    bare_output = folder / "bare.parquet"
    trusted = ",".join(loaded.model.trusted_types)
    bare = [
        sys.executable, "-c", _BARE_LOOP, str(source), str(model), str(bare_output), trusted,
    ]  # fmt: skip
    ours = [sys.executable, "-m", "scoring", "run", str(job), MONTH, "--data", str(data), "--json"]
    measured: list[tuple[Timed, Timed]] = []
    for _ in range(pairs):
        measured.append((timed(bare), timed(ours)))
        _check(json.loads(measured[-1][1].stdout), bare_output, rows)
    ratios = sorted(second.wall_seconds / first.wall_seconds for first, second in measured)
    return {
        "rows": rows,
        "bare_loop": [first.figures() for first, _ in measured] + [memory(bare).figures()],
        "scoring_run": [second.figures() for _, second in measured] + [memory(ours).figures()],
        "ratio_of_time": {"median": ratios[len(ratios) // 2], "all": ratios},
    }


def _check(manifest: dict[str, object], bare_output: Path, rows: int) -> None:
    """Exit unless both predicted the same rows: other figures cannot be compared."""
    counts = manifest["rows"]
    assert isinstance(counts, dict)
    bare_rows = pq.read_metadata(bare_output).num_rows
    if counts["in"] != rows or counts["scored"] != bare_rows:
        raise SystemExit(f"error: the bare loop predicted {bare_rows} rows, scoring {counts}")
