from __future__ import annotations

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

from tests.scoring.factories import Place, predictions, rows, run_steps
from tests.scoring.serving.conftest import ROOT, Start

MOMENT = "2013-03-07T10:20:00Z"


def test_a_month_of_requests_is_a_month_of_a_batch_job(place: Place, start: Start):
    day = pa.array(["2013-02-03"] * 2).cast(pa.timestamp("us"))
    place.source(rows(2, day=day, note=["a", "b"]))
    changes = {"source": {"date_column": "day"}, "output": {"keep": ["note"]}}
    run_steps(place.run(place.job(**changes)))
    log = place.data / "requests"
    service = start(place, "--log", str(log), "--now", MOMENT)
    sent = [
        {"id": n, "x": float(n) if n != 3 else None, "day": "2013-03-07T10:00:00", "note": f"n{n}"}
        for n in range(1, 6)
    ]
    answers = service.predict(sent[:3]).json()["rows"] + service.predict(sent[3:]).json()["rows"]
    assert service.stop() == 0

    folder = log / "sample" / "year=2013" / "month=03" / "day=07" / "hour=10"
    (file,) = folder.iterdir()
    logged = pq.ParquetFile(file).read()
    assert logged.column("id").to_pylist() == [1, 2, 3, 4, 5]
    assert logged.schema.field("day").type == pa.timestamp("us")
    assert logged.column("status").to_pylist().count("scored") == 4
    assert logged.column("reason").to_pylist()[2] == "missing_value"
    assert logged.column("answered_y").to_pylist() == [a.get("y") for a in answers]
    assert set(logged.column("model_version").to_pylist()) == {"v1"}

    text = (place.folder / "sample.yaml").read_text()
    online = text.replace("name: sample", "name: online").replace("{data}/out", "{data}/online")
    source = "{data}/requests/sample/year={year}/month={month}/*/*/*.parquet"
    (place.folder / "online.yaml").write_text(
        online.replace("{data}/source/{partition}.parquet", source)
    )
    from scoring.job.loader import load_job

    manifest = run_steps(place.run(load_job(place.folder / "online.yaml"), "2013-03"))
    assert (manifest.rows.rows_in, manifest.rows.scored) == (5, 4)
    scored = predictions(manifest)
    assert scored.column("y").to_pylist() == [a["y"] for a in answers if "y" in a]

    command = [sys.executable, "-m", "scoring", "coverage", "online", "--jobs", str(place.folder)]
    done = subprocess.run(
        [*command, "--data", str(place.data), "--now", "2013-04-02T03:00Z"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "published" in done.stdout


def test_a_log_that_cannot_be_written_costs_no_answer(place: Place, start: Start):
    place.job()
    (place.data / "requests").write_text("a file where the folder would be")
    service = start(place, "--log", str(place.data / "requests"))
    assert service.predict({"id": 1, "x": 1.0}).status_code == 200
    assert service.stop() == 0
    assert "requests of sample cannot be logged" in service.log.read_text()
