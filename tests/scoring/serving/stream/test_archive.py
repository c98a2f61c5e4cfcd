"""The archive of a stream, and the way back to batch: a partition scored from it."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from scoring import training_profile
from scoring.cli.main import main
from scoring.pipeline.evaluate import evaluate
from tests.kafka_broker import QUIET, Broker, at_least
from tests.scoring.factories import JOB, Place, predictions, run_steps
from tests.scoring.serving.stream.conftest import Start

FEBRUARY = int(datetime(2013, 2, 5, 10, 30, tzinfo=UTC).timestamp() * 1000)
ARCHIVED = "{data}/archive/sample/year={year}/month={month}/*/*/*.parquet"


@pytest.fixture
def place(place: Place) -> Place:
    """A job with a published partition, which says which types its columns have."""
    run_steps(place.run(place.job()))
    return place


def produce(broker: Broker, topic: str, values: dict[int, Any], partition: int = 0) -> None:
    """Send rows by their ids, each a minute after the one before it."""
    producer = Producer({**QUIET, "bootstrap.servers": broker.server})
    for number, x in values.items():
        value = x if isinstance(x, str) else json.dumps({"id": number, "x": x})
        moment = FEBRUARY + number * 60_000
        producer.produce(topic, value, partition=partition, timestamp=moment)
    assert producer.flush(30) == 0


def stored(folder: Path) -> pa.Table:
    files = sorted(folder.rglob("*.parquet"))
    return pa.concat_tables([pq.ParquetFile(file).read() for file in files])


def test_each_message_is_in_the_file_of_its_hour_once(
    place: Place, broker: Broker, topic: str, start: Start
):
    produce(broker, topic, {n: float(n) for n in range(100)})
    produce(broker, topic, {100: "no row", 101: 5.0, 102: "{}"}, partition=1)
    archive = place.folder / "archive"
    stream = start(place, topic, "--archive", str(archive), "--until-end")
    assert stream.end() == 0
    assert stream.group("scoring.sample.archive")["messages"]["unreadable"] == 2
    found = stored(archive)
    assert sorted(found["id"].to_pylist()) == [*range(100), 101]
    assert found["source_topic"].to_pylist() == [topic] * 101
    hours = {
        re.sub(r".*(day=\d+/hour=\d+)/(\d)-.*", r"\1 \2", str(path)): pq.ParquetFile(path)
        for path in archive.rglob("*.parquet")
    }
    assert {name: file.metadata.num_rows for name, file in hours.items()} == {
        "day=05/hour=10 0": 30, "day=05/hour=11 0": 60, "day=05/hour=12 0": 10,
        "day=05/hour=12 1": 1,
    }  # fmt: skip
    assert (archive / "sample/year=2013/month=02/day=05/hour=10/0-0.parquet").is_file()
    assert sum(broker.committed("scoring.sample.archive", topic, 2).values()) == 103


def test_a_process_that_is_killed_loses_and_repeats_nothing(
    place: Place, broker: Broker, topic: str, start: Start
):
    archive, sent = place.folder / "archive", 0
    options = ("--archive", str(archive), "--archive-seconds", "1", "--max-batch", "7")
    for round_ in range(4):
        produce(broker, topic, {n: float(n) for n in range(sent, sent + 60)})
        sent += 60
        stream = start(place, topic, *options)
        files = len(list(archive.rglob("*.parquet")))
        stream.wait(lambda: len(list(archive.rglob("*.parquet"))) > files)  # noqa: B023
        stream.kill()
        assert round_ < 4
    assert start(place, topic, "--archive", str(archive), "--until-end").end() == 0
    counts = Counter(stored(archive)["id"].to_pylist())
    assert (len(counts), set(counts.values())) == (sent, {1})


def test_a_month_of_messages_is_a_partition_with_all_that_a_partition_has(
    place: Place, broker: Broker, topic: str, start: Start, capsys: pytest.CaptureFixture[str]
):
    """Online predictions beside the batch's: the same bits, and a month's drift, actuals, coverage."""
    archive = place.data / "archive"
    changes = {
        "source": {"uri": ARCHIVED},
        "actuals": {"source": {"uri": "{data}/actuals/{partition}.parquet"}, "column": "really"},
        "checks": {"drift": {"warn": "default"}},
        "model": {"versions": [{**JOB["model"]["versions"][0], "profile": "{models}/v1.json"}]},
    }
    frame = pd.DataFrame({"x": [n * 0.7 for n in range(1, 301)]})
    profile = training_profile(frame, pd.DataFrame({"y": 2 * frame["x"]}))
    (place.data / "models" / "v1.json").write_text(profile)
    values: dict[int, Any] = {n: n * 0.7 for n in range(1, 401)}
    values |= {401: '{"id": 401, "x": null}', 402: '{"id": 402, "x": "many"}', 403: "no row"}
    produce(broker, topic, values)
    online = start(place, topic, "--to", f"kafka:///{topic}-out", "--archive", str(archive))
    online.wait(lambda: online.total() == 403)
    assert online.stop() == 0

    job = place.job(**changes)
    table = pa.table({"id": list(range(1, 401)), "really": [n * 1.5 for n in range(1, 401)]})
    (place.data / "actuals").mkdir()
    pq.write_table(table, place.data / "actuals" / "2013-02.parquet")
    manifest = run_steps(place.run(job))
    # The row without x is in both; what is not a row, or of another type, is a dead letter alone.
    assert (manifest.rows.scored, manifest.rows.reasons) == (400, {"missing_value: x": 1})
    batch = {row["id"]: row["y"] for row in predictions(manifest).to_pylist()}
    answered = [json.loads(got.value) for got in broker.read(f"{topic}-out", at_least(400))]
    assert {row["id"]: row["y"] for row in answered} == batch  # the same bits
    assert {row["model_sha256"] for row in answered} == {manifest.model.sha256}
    letters = broker.read(f"{topic}-out.dead-letters", at_least(3))
    assert sorted(got.headers["reason"] for got in letters) == [
        "missing_value", "unreadable", "wrong_type",
    ]  # fmt: skip
    # And what a partition has besides: drift, actuals, coverage.
    assert [(of["column"], of["reference"]) for of in manifest.drift] == [
        ("x", "the training profile"), ("y", "the training profile"),
    ]  # fmt: skip
    found = evaluate(place.run(job))
    assert (found.rows.with_actual, found.rows.without_actual) == (400, 0)
    assert found.regression is not None
    options = ("--jobs", str(place.folder), "--data", str(place.data))
    assert main(["coverage", "sample", *options, "--now", "2013-03-02T03:00Z", "--json"]) == 0
    states = json.loads(capsys.readouterr().out)
    assert [(of["partition"], of["state"]) for of in states] == [("2013-02", "published")]


def test_what_was_not_scored_online_is_scored_by_the_batch(
    place: Place, broker: Broker, topic: str, start: Start
):
    """The service began late; the archive has all, and so has the partition."""
    archive = place.data / "archive"
    produce(broker, topic, {n: float(n) for n in range(1, 51)})
    online = start(place, topic, "--to", f"kafka:///{topic}-out", "--start", "latest")
    online.wait(lambda: "reads partitions" in online.log.read_text())
    produce(broker, topic, {n: float(n) for n in range(51, 81)})
    online.wait(lambda: online.total() >= 30)
    assert online.stop() == 0
    answered = {json.loads(got.value)["id"] for got in broker.read(f"{topic}-out", at_least(30))}
    assert 1 not in answered
    assert start(place, topic, "--archive", str(archive), "--until-end").end() == 0
    manifest = run_steps(place.run(place.job(source={"uri": ARCHIVED})))
    assert {row["id"] for row in predictions(manifest).to_pylist()} == set(range(1, 81))


def test_a_folder_that_cannot_be_written_is_waited_for(
    place: Place, broker: Broker, topic: str, start: Start
):
    produce(broker, topic, {n: float(n) for n in range(10)})
    blocked = place.folder / "archive"
    blocked.write_text("a file where a folder should be")
    stream = start(place, topic, "--archive", str(blocked), "--archive-seconds", "1")
    name = "scoring.sample.archive"
    stream.wait(lambda: "wait for the archive" in (stream.group(name)["problem"] or ""))
    assert broker.committed(name, topic, 2) == {}
    blocked.unlink()
    stream.wait(lambda: stream.total(name) == 10)
    stream.wait(lambda: stream.group(name)["problem"] is None)
    assert len(stored(blocked)) == 10
    assert stream.stop() == 0
