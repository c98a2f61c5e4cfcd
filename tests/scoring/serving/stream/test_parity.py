"""``scoring parity --stream``: every row of a real month has the published bits, or the same reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scoring.serving.parity import stream as parity_stream
from tests.kafka_broker import Broker, at_least
from tests.scoring.factories import Place, linear, rows, run_steps
from tests.scoring.serving.stream.conftest import ROOT, Start

MONTH, ROWS, SCORED, DEAD = "2013-05", 28_796, 28_233, 563
JOB = ROOT / "dags" / "jobs" / "flight_delay.yaml"


def scoring(broker: Broker, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    connection = {"conn_type": "kafka", "extra": {"bootstrap.servers": broker.server}}
    done = subprocess.run(
        [sys.executable, "-m", "scoring", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"AIRFLOW_CONN_KAFKA": json.dumps(connection)},
    )
    assert done.returncode == status, done.stderr
    return done


def parity(
    broker: Broker, place: Place, topic: str, *options: str, job: str = "sample", **more: int
) -> subprocess.CompletedProcess[str]:
    month = "2013-02" if job == "sample" else MONTH
    folders = ("--jobs", str(place.folder), "--data", str(place.data))
    topics = ("--stream", f"kafka:///{topic}", "--to", f"kafka:///{topic}-out")
    command = ("parity", job, month, *folders, *topics, "--connection-id", "kafka")
    return scoring(broker, *command, *options, **more)


@pytest.fixture
def flights(example_data: Path, tmp_path: Path) -> Place:
    """The flights and their job, published for the month."""
    place = Place(tmp_path)
    place.data = tmp_path / "data"
    place.data.mkdir()
    for name in ("flights", "models"):
        (place.data / name).symlink_to(example_data / name)
    (tmp_path / JOB.name).write_bytes(JOB.read_bytes())
    command = ("run", "flight_delay", MONTH, "--jobs", str(tmp_path), "--data", str(place.data))
    subprocess.run(
        [sys.executable, "-m", "scoring", *command], cwd=ROOT, check=True, capture_output=True
    )
    return place


def test_all_rows_of_a_month_have_the_published_bits_or_the_same_reason(
    flights: Place, broker: Broker, topic: str, start: Start
):
    stream = start(flights, topic, "flight_delay", "--now", "2013-05-20")
    report = flights.folder / "report.json"
    parity(broker, flights, topic, "--report", str(report), job="flight_delay")
    found = json.loads(report.read_text())
    assert found["rows"] == {
        "in": ROWS, "scored": SCORED, "quarantined": DEAD, "left_out": 0, "duplicate_row_id": 0,
    }  # fmt: skip
    assert found["same"]
    stream.wait(lambda: stream.total("scoring.flight_delay") == ROWS)
    results = broker.read(f"{topic}-out", at_least(SCORED))
    letters = broker.read(f"{topic}-out.dead-letters", at_least(DEAD))
    assert (len(results), len(letters)) == (SCORED, DEAD)
    reasons = Counter((got.headers["reason"], got.headers["column"]) for got in letters)
    month = flights.data / "predictions/flight_delay"
    manifest = json.loads((month / f"_manifests/month={MONTH}.json").read_text())
    quarantined = pq.ParquetFile(manifest["quarantine"]["uri"]).read(["reason", "column"])
    assert reasons == Counter(map(tuple, map(dict.values, quarantined.to_pylist())))


@pytest.mark.parametrize("kind", ["arrow", "json"])
def test_a_month_of_the_sample_job_and_a_stream_with_another_model(
    kind: str, place: Place, broker: Broker, topic: str, start: Start
):
    place.source(rows(300, x=[None if n % 50 == 0 else n / 7 for n in range(300)]))
    run_steps(place.run(place.job()))
    arrow = ("--arrow",) if kind == "arrow" else ()
    stream = start(place, topic, "--format", kind)
    done = parity(broker, place, topic, *arrow)
    assert "294 scored with the same bits in y, 6 quarantined" in done.stdout
    assert stream.stop() == 0
    place.model(linear(2.5))
    second = start(place, topic, "--format", kind)
    done = parity(broker, place, topic, *arrow, status=8)
    assert "model_sha256" in done.stderr
    assert "y 294" in done.stderr or "y 293" in done.stderr  # of x = 0, both predict 0
    assert second.stop() == 0


def test_rows_of_a_csv_source_are_sent_as_csv(
    place: Place, broker: Broker, topic: str, start: Start
):
    place.csv("id,x\n1,0.1\n2,\n3,many\n4,1e3\n")
    job = place.job(source={"uri": "{data}/source/{partition}.csv"})
    run_steps(place.run(job))
    start(place, topic, "--format", "csv")
    done = parity(broker, place, topic)
    assert "answers 4 rows" in done.stdout
    assert "2 scored with the same bits in y, 2 quarantined" in done.stdout


def test_without_a_stream_it_says_what_to_start(
    place: Place, broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parity_stream, "PATIENCE_SECONDS", 3.0)
    run = place.run(place.job())
    manifest = run_steps(run)
    options: dict[str, Any] = {
        "source": parity_stream.TopicAddress(broker.server, topic),
        "results": parity_stream.TopicAddress(broker.server, f"{topic}-out"),
        "dead_letters": parity_stream.TopicAddress(broker.server, f"{topic}-out.dead-letters"),
    }
    with (
        parity_stream.StreamOptions(**options).open(run.job, run.partition, manifest) as peer,
        pytest.raises(
            parity_stream.ServiceError,
            match=r"10 of 10 messages .* got neither a result .*scoring stream sample --from",
        ),
    ):
        peer.ask(rows(10), "json", rows(1).schema)


def test_what_is_wrong_with_the_command_is_one_error(place: Place, broker: Broker, topic: str):
    run_steps(place.run(place.job()))
    done = parity(broker, place, "nothing", status=1)
    assert done.stderr.startswith("error: there is no topic nothing at ")
    folders = ("--jobs", str(place.folder), "--data", str(place.data))
    command = ("parity", "sample", "2013-02", *folders, "--stream", f"kafka:///{topic}")
    assert "--stream needs --to" in scoring(broker, *command, status=1).stderr
