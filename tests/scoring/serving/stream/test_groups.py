"""Consumer groups: jobs, challengers, versions and processes that come, change and go."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.kafka_broker import Broker, at_least
from tests.scoring.factories import JOB, Place, linear
from tests.scoring.serving.stream.conftest import Start, Stream
from tests.small_job import merged

FAILS_AT_13 = """
import pandas as pd
def run(df):
    if (df["x"] == 13).any():
        raise ValueError("13 brings bad luck")
    return pd.DataFrame({"y": 2 * df["x"]}, index=df.index)
"""
FAILS = "def run(df):\n    raise RuntimeError('the lookup table is gone')\n"
SCORES = "def run(df):\n    return df[['x']].rename(columns={'x': 'y'}) * %s\n"

TWO_VERSIONS = {
    "versions": [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
        {"version": "v2", "uri": "{models}/v2.skops", "candidate": True},
    ]
}


def row(number: int) -> str:
    return json.dumps({"id": number, "x": float(number)})


def ys(broker: Broker, topic: str, count: int) -> dict[int, float]:
    """The predictions by id; the test fails where two results of one message differ."""
    found: dict[int, float] = {}
    for got in broker.read(topic, at_least(count)):
        result = json.loads(got.value)
        assert found.setdefault(result["id"], result["y"]) == result["y"]
    return found


def versions(broker: Broker, topic: str, count: int) -> Counter[str]:
    got = broker.read(topic, at_least(count))
    return Counter(json.loads(message.value)["model_version"] for message in got)


def problem(stream: Stream) -> str:
    return stream.group()["problem"] or ""


def with_scorer(place: Place, code: str) -> None:
    place.scorer(code)
    place.job(model=None, scorer="scorer.py")


def test_a_message_that_breaks_the_model_is_a_dead_letter_and_no_other_is(
    place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(place, FAILS_AT_13)
    broker.produce(topic, [row(n) for n in range(1, 201)])
    stream = start(place, topic, "--until-end")
    assert stream.end() == 0
    found = ys(broker, f"{topic}-out", 199)
    assert set(found) == set(range(1, 201)) - {13}
    (letter,) = broker.read(f"{topic}-out.dead-letters", at_least(1))
    assert letter.headers["reason"] == "scoring_failed"
    assert "13 brings bad luck" in letter.headers["error"]
    assert json.loads(letter.value)["id"] == 13
    assert stream.group()["messages"]["scoring_failed"] == 1


def test_a_first_message_that_breaks_the_model_waits_for_one_that_does_not(
    place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(place, FAILS_AT_13)
    broker.produce(topic, [row(13)], partition=0)
    stream = start(place, topic)
    stream.wait(lambda: "1 messages wait: version" in problem(stream))
    assert broker.committed("scoring.sample", topic, 2) == {}
    broker.produce(topic, [row(1)], partition=1)
    stream.wait(lambda: stream.total() == 2)
    assert problem(stream) == ""
    assert ys(broker, f"{topic}-out", 1) == {1: 2.0}


def test_a_model_that_scores_nothing_does_not_blame_the_messages(
    place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(place, FAILS)
    broker.produce(topic, [row(n) for n in range(50)])
    stream = start(place, topic, "--metrics-port", "0")
    stream.wait(lambda: "the lookup table is gone" in problem(stream))
    group = 'group="scoring.sample",job="sample"'
    stream.wait(lambda: f"scoring_stream_problem{{{group}}} 1.0" in stream.metrics())
    lag = re.findall(r"scoring_stream_lag\{.*\} (\S+)", stream.metrics())
    assert sum(map(float, lag)) == 50
    assert broker.committed("scoring.sample", topic, 2) == {}
    place.scorer(SCORES % 3)
    stream.wait(lambda: stream.total() == 50)
    assert ys(broker, f"{topic}-out", 50) == {n: 3.0 * n for n in range(50)}
    stream.wait(lambda: f"scoring_stream_problem{{{group}}} 0.0" in stream.metrics())
    assert "Trying again" in stream.log.read_text()


def test_until_end_ends_with_the_error_of_a_model_that_scores_nothing(
    place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(place, FAILS)
    broker.produce(topic, [row(1)])
    stream = start(place, topic, "--until-end")
    assert stream.end() == 6
    last = stream.log.read_text().splitlines()[-1]
    assert last.startswith("error: version scorer-")
    assert "fails for each of 1 messages, and has scored none yet" in last
    assert broker.committed("scoring.sample", topic, 2) == {}


def test_a_changed_job_file_takes_over_between_two_batches(
    place: Place, broker: Broker, topic: str, start: Start
):
    place.model(linear(3.0), "v2.skops")
    place.job()
    broker.produce(topic, [row(n) for n in range(10)])
    stream = start(place, topic)
    stream.wait(lambda: stream.total() == 10)
    place.job(
        model={
            "versions": [
                {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
                {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-03"},
            ]
        }
    )
    stream.wait(lambda: "sample: v2 is in force" in stream.log.read_text())
    broker.produce(topic, [row(n) for n in range(10, 20)])
    stream.wait(lambda: stream.total() == 20)
    assert stream.group()["version"] == "v2"
    assert versions(broker, f"{topic}-out", 20) == {"v1": 10, "v2": 10}
    found = ys(broker, f"{topic}-out", 20)
    assert found[5] == pytest.approx(10.0)
    assert found[15] == pytest.approx(45.0)


@pytest.mark.parametrize("how", ["cannot be loaded", "scores nothing", "is not valid YAML"])
def test_a_broken_new_version_replaces_nothing(
    how: str, place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(place, SCORES % 2)
    broker.produce(topic, [row(n) for n in range(10)])
    stream = start(place, topic, "--metrics-port", "0")
    stream.wait(lambda: stream.total() == 10)
    if how == "cannot be loaded":
        place.scorer("def run(df:\n")
    elif how == "scores nothing":
        place.scorer(FAILS)
    else:
        (place.folder / "sample.yaml").write_text("name: [sample\n")
    logged = "cannot be loaded" if how != "scores nothing" else "is in force"
    stream.wait(lambda: logged in stream.log.read_text())
    broker.produce(topic, [row(n) for n in range(10, 20)])
    stream.wait(lambda: stream.total() == 20)
    stream.wait(lambda: "goes on" in problem(stream))
    assert ys(broker, f"{topic}-out", 20) == {n: 2.0 * n for n in range(20)}
    assert 'scoring_stream_problem{group="scoring.sample",job="sample"} 1.0' in stream.metrics()
    with_scorer(place, SCORES % 5)
    stream.wait(lambda: stream.log.read_text().count("is in force") > (how == "scores nothing"))
    broker.produce(topic, [row(n) for n in range(20, 30)])
    stream.wait(lambda: stream.total() == 30)
    assert ys(broker, f"{topic}-out", 30)[25] == 125.0
    stream.wait(lambda: problem(stream) == "")


def other_job(place: Place, name: str, **changes: Any) -> None:
    job = merged(JOB, {"name": name, "destination": {"uri": f"{{data}}/{name}"}, **changes})
    (place.folder / f"{name}.yaml").write_text(yaml.safe_dump(job, sort_keys=False))


def test_jobs_and_challengers_are_groups_of_their_own_that_come_and_go(
    place: Place, broker: Broker, topic: str, start: Start
):
    out = f"{topic}.out"
    names = [f"{out}.{name}" for name in ("sample", "sample.challenger.v2", "second")]
    names += [
        f"{out}.{name}" for name in ("sample.dead-letters", "sample.dead-letters.challenger.v2")
    ]
    broker.create(dict.fromkeys([*names, f"{out}.second.dead-letters"], 1))
    place.model(linear(3.0), "v2.skops")
    place.job(model=TWO_VERSIONS)
    broker.produce(topic, [row(n) for n in range(100)])
    stream = start(place, topic, "--to", f"kafka:///{out}.{{job}}")
    stream.wait(lambda: stream.total() == 100)
    assert set(stream.groups()) == {"scoring.sample"}

    other_job(place, "second", output={"prediction": "z"})
    stream.wait(lambda: stream.total("scoring.second") == 100)
    place.job(model=TWO_VERSIONS, challengers=["v2"])
    stream.wait(lambda: stream.total("scoring.sample.challenger.v2") == 100)
    assert stream.total() == 100  # nothing was scored twice for that

    (place.folder / "second.yaml").unlink()
    place.job(model=TWO_VERSIONS)
    stream.wait(lambda: set(stream.groups()) == {"scoring.sample"})
    broker.produce(topic, [row(n) for n in range(100, 150)])
    stream.wait(lambda: stream.total() == 150)
    assert stream.stop() == 0
    assert ys(broker, f"{out}.sample", 150)[140] == pytest.approx(280.0)
    challenger = ys(broker, f"{out}.sample.challenger.v2", 100)
    assert (len(challenger), challenger[50]) == (100, pytest.approx(150.0))
    second = broker.read(f"{out}.second", at_least(100))
    assert {json.loads(got.value)["job"] for got in second} == {"second"}
    # It goes on where it ended.
    place.job(model=TWO_VERSIONS, challengers=["v2"])
    again = start(place, topic, "--to", f"kafka:///{out}.{{job}}", "--until-end")
    assert again.end() == 0
    assert again.total("scoring.sample.challenger.v2") == 50
    assert len(ys(broker, f"{out}.sample.challenger.v2", 150)) == 150


def test_a_version_of_ones_own_choice_is_a_group_of_its_own(
    place: Place, broker: Broker, topic: str, start: Start
):
    place.model(linear(3.0), "v2.skops")
    place.job(model=TWO_VERSIONS)
    broker.produce(topic, [row(n) for n in range(10)])
    stream = start(place, topic, "--version", "v2", "--until-end")
    assert stream.end() == 0
    assert set(stream.groups()) == {"scoring.sample.version.v2"}
    assert ys(broker, f"{topic}-out", 10)[5] == pytest.approx(15.0)


def test_processes_of_a_job_share_its_partitions(
    place: Place, broker: Broker, topic: str, start: Start
):
    place.job()
    one, other = start(place, topic), start(place, topic)
    for stream in (one, other):
        stream.wait(lambda: len(stream.group()["lag"]) == 1)  # noqa: B023
    broker.produce(topic, [row(n) for n in range(1000)])
    one.wait(lambda: one.total() + other.total() == 1000)
    assert min(one.total(), other.total()) > 0
    assert one.stop() == 0
    other.wait(lambda: len(other.group()["lag"]) == 2)
    broker.produce(topic, [row(n) for n in range(1000, 1500)])
    other.wait(lambda: one.total() + other.total() == 1500)
    got = broker.read(f"{topic}-out", at_least(1500))
    assert len(got) == len({message.key for message in got}) == 1500  # nothing twice


def test_a_lookup_that_fails_once_blames_nobody(
    place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(
        place,
        "import pathlib\n"
        "def run(df):\n"
        "    once = pathlib.Path(__file__).with_name('once')\n"
        "    if once.exists():\n"
        "        once.unlink()\n"
        "        raise ConnectionError('the lookup is away')\n"
        "    return df[['x']].rename(columns={'x': 'y'}) * 2\n",
    )
    stream = start(place, topic)
    broker.produce(topic, [row(1)])
    stream.wait(lambda: stream.total() == 1)
    (place.folder / "once").touch()
    broker.produce(topic, [row(2)])
    stream.wait(lambda: stream.total() == 2)
    assert not (place.folder / "once").exists()
    assert ys(broker, f"{topic}-out", 2) == {1: 2.0, 2: 4.0}


def test_a_new_job_file_that_cannot_be_streamed_replaces_nothing(
    place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(place, SCORES % 2)
    broker.produce(topic, [row(n) for n in range(10)])
    stream = start(place, topic)
    stream.wait(lambda: stream.total() == 10)
    place.job(model=None, scorer="scorer.py", output={"prediction": "y", "keep": ["job"]})
    stream.wait(lambda: "is in force" in stream.log.read_text())
    broker.produce(topic, [row(n) for n in range(10, 20)])
    stream.wait(lambda: stream.total() == 20)
    assert "is not used: sample publishes a column 'job'" in problem(stream)
    assert stream.stop() == 0


def test_until_end_waits_for_partitions_on_their_way_to_another_process(
    place: Place, broker: Broker, topic: str, start: Start
):
    with_scorer(
        place,
        "import time\ndef run(df):\n    time.sleep(0.05)\n"
        "    return df[['x']].rename(columns={'x': 'y'})\n",
    )
    produced = 0

    def produce(count: int) -> None:
        nonlocal produced
        broker.produce(topic, [row(produced + n) for n in range(count)], partition=0)
        produced += count

    def other_reads() -> bool:
        # The broker of the tests keeps a member that leaves while another one joins, so that the first
        # must not come to the end before the other has its partition.
        if produced - one.total() < 600:
            produce(50)
        return "reads partition" in other.log.read_text()

    produce(400)
    options = ("--until-end", "--max-batch", "10")
    one = start(place, topic, *options)
    one.wait(lambda: one.total() > 0)
    other = start(place, topic, *options)
    one.wait(other_reads)
    assert (one.end(), other.end()) == (0, 0)
    assert one.total() + other.total() >= produced
    assert set(ys(broker, f"{topic}-out", produced)) == set(range(produced))
