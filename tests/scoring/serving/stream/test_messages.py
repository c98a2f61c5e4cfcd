"""What becomes of messages: results, dead letters, and what stands in them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from tests.kafka_broker import Broker, Got, at_least
from tests.scoring.factories import Place, linear, rows, run_steps
from tests.scoring.serving.stream.conftest import Start


def row(number: int, **more: Any) -> str:
    return json.dumps({"id": number, "x": float(number), **more})


def results(broker: Broker, topic: str, count: int) -> list[dict[str, Any]]:
    return [json.loads(got.value) for got in broker.read(f"{topic}-out", at_least(count))]


def dead(broker: Broker, topic: str, count: int) -> list[Got]:
    return broker.read(f"{topic}-out.dead-letters", at_least(count))


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def place(place: Place) -> Place:
    place.job()
    return place


def test_each_message_becomes_a_result_with_its_place(
    place: Place, broker: Broker, topic: str, start: Start
):
    places = broker.produce(topic, [row(n, kept="x") for n in range(1, 101)])
    assert start(place, topic, "--until-end").end() == 0
    got = broker.read(f"{topic}-out", at_least(100))
    sha256 = json.loads(got[0].value)["model_sha256"]
    by_place = {(partition, offset): n for n, (partition, offset) in enumerate(places, 1)}
    assert len(got) == 100
    for message in got:
        found = json.loads(message.value)
        at = (found["source_partition"], found["source_offset"])
        number = by_place[at]
        assert message.key == f"sample/{topic}/{at[0]}/{at[1]}/{sha256}"
        y = found.pop("y")
        assert y == pytest.approx(2.0 * number)
        assert found == {
            "status": "scored",
            "id": number,
            "job": "sample",
            "model_version": "v1",
            "model_sha256": sha256,
            "source_topic": topic,
            "source_partition": at[0],
            "source_offset": at[1],
        }
    assert len(sha256) == 64
    assert sum(broker.committed("scoring.sample", topic, 2).values()) == 100


WRONG: dict[str, tuple[bytes | str | None, str, str | None, str]] = {
    # what is sent, reason, column, a part of the error or the value
    "no JSON": ("no json {", "unreadable", None, "the message is not JSON"),
    "two JSON documents": ('{"id": 1, "x": 1.0}{"id": 2, "x": 1.0}', "unreadable", None, "JSON"),
    "half of an array": ('[{"id": 1, "x": 1.0}', "unreadable", None, "JSON"),
    "an end without a begin": ('{"id": 1, "x": 1.0}]', "unreadable", None, "JSON"),
    "a key twice": ('{"id": 1, "x": 1.0, "x": 2.0}', "unreadable", None, "'x' twice"),
    "a key twice, spaced": ('{"id": 1, "x" : 1.0, "x": 2.0}', "unreadable", None, "'x' twice"),
    "a key twice, other blanks": (
        '{"id":1,"x"\n:1.0,"x"\t:2.0,"y":1}',
        "unreadable",
        None,
        "twice",
    ),
    "a key twice, escaped": ('{"id": 1, "x": 1.0, "\\u0078": 2.0}', "unreadable", None, "twice"),
    "NaN": ('{"id": 1, "x": NaN}', "unreadable", None, "NaN is not a number"),
    "a text": ('"text"', "unreadable", None, "is a text"),
    "null": ("null", "unreadable", None, "is null"),
    "two rows": ('[{"id": 1, "x": 1.0}, {"id": 2, "x": 1.0}]', "unreadable", None, "has 2 rows"),
    "no rows": ("[]", "unreadable", None, "has 0 rows"),
    "no column": ('{"id": 1}', "unreadable", None, "no column 'x'"),
    "another column": ('{"id": 1, "X": 1.0}', "unreadable", None, "'X' for 'x'"),
    "empty": (b"", "unreadable", None, "not JSON"),
    "no value": (None, "unreadable", None, "has no value"),
    "bytes": (b"\xff\xfe\x00", "unreadable", None, "not JSON"),
    "half a character": ('{"id": 1, "x": 1.0, "z": "\\ud800"}', "unreadable", None, "surrogate"),
    "half a character, raw": (b'{"id": "\xed\xa0\x80", "x": 1.0}', "unreadable", None, "not JSON"),
    "more digits than a float has": (
        '{"id": 1, "x": -1' + "0" * 400 + "}",
        "infinite",
        "x",
        "-inf",
    ),
    "an id of lists in lists": (
        '{"id": ' + "[" * 600 + "]" * 600 + ', "x": 1.0}',
        "unreadable",
        None,
        "",
    ),
    "deep": ("[" * 100_000, "unreadable", None, "not JSON"),
    "null in x": ('{"id": 1, "x": null}', "missing_value", "x", ""),
    "text in x": ('{"id": 1, "x": "many"}', "wrong_type", "x", "many"),
    "a truth value": ('{"id": 1, "x": true}', "wrong_type", "x", "true"),
    "no id": ('{"id": null, "x": 1.0}', "null_row_id", "id", ""),
    "infinite": ('{"id": 1, "x": 1e999}', "infinite", "x", "inf"),
}


def test_what_cannot_be_scored_is_a_dead_letter_with_its_reason_and_its_own_bytes(
    place: Place, broker: Broker, topic: str, start: Start
):
    values = [value for value, *_ in WRONG.values()]
    between = [row(n) for n in range(1000, 1000 + len(values))]
    mixed = [value for pair in zip(values, between, strict=True) for value in pair]
    places = broker.produce(topic, mixed, keys=[f"key {n}" for n in range(len(mixed))])
    assert start(place, topic, "--until-end").end() == 0
    letters = {
        (int(got.headers["source_partition"]), int(got.headers["source_offset"])): got
        for got in dead(broker, topic, len(values))
    }
    assert len(letters) == len(values)
    for number, (name, (value, reason, column, text)) in enumerate(WRONG.items()):
        got = letters[places[2 * number]]
        headers = got.headers
        assert headers["reason"] == reason, (name, headers)
        assert headers.get("column") == column, name
        assert text in headers.get("error", headers.get("value", "")), (name, headers)
        assert got.value == (value.encode() if isinstance(value, str) else value or b""), name
        assert headers["source_key"] == f"key {2 * number}"
        assert (headers["source_topic"], headers["job"]) == (topic, "sample")
        assert got.key.startswith(f"sample/{topic}/")
    scored = sorted(found["id"] for found in results(broker, topic, len(between)))
    assert scored == list(range(1000, 1000 + len(values)))


def test_rows_that_are_left_out_are_results_with_their_reason(
    place: Place, broker: Broker, topic: str, start: Start
):
    run_steps(
        place.run(place.job(leave_out={"small": "x < 3"}))
    )  # a partition says which type x has
    broker.produce(topic, [row(n) for n in range(1, 6)])
    stream = start(place, topic, "--until-end")
    assert stream.end() == 0
    found = {r["id"]: r for r in results(broker, topic, 5)}
    assert {n: r["status"] for n, r in found.items()} == {
        1: "left_out", 2: "left_out", 3: "scored", 4: "scored", 5: "scored",
    }  # fmt: skip
    assert (found[1]["reason"], "y" in found[1]) == ("small", False)
    assert stream.group()["messages"]["left_out"] == 2


@pytest.mark.parametrize("kind", ["arrow", "csv"])
def test_other_formats_give_the_same_results(
    kind: str, place: Place, broker: Broker, topic: str, start: Start
):
    good = rows(20)
    if kind == "arrow":
        values: list[bytes] = [arrow(good.slice(n, 1)) for n in range(20)]
        values += [arrow(good), arrow(good.slice(0, 0)), arrow(good.select(["id"])), b"no stream"]
        # Another type of the same column: read by itself, with the rows of its own type.
        values += [arrow(pa.table({"id": [21], "x": pa.array([21.0], pa.float32())}))]
        values += [arrow(pa.table({"id": [22], "x": ["many"]}))]
    else:
        values = [f"id,x\r\n{n},{float(n)}\r\n".encode() for n in range(1, 21)]
        values += [b"id,x\n1,1.0\n2,2.0\n", b"id,x\n", b"id\n1\n", b'id,x\n1,"1.0\n']
        values += [b"x,id\n21.0,21\n", b"id,x\n22,many\n"]
    broker.produce(topic, values)
    assert start(place, topic, "--format", kind, "--until-end").end() == 0
    letters = dead(broker, topic, 5)
    # A CSV has texts alone; a column of texts in an Arrow stream is another kind of thing than x.
    last = "wrong_type" if kind == "csv" else "unreadable"
    assert sorted(got.headers["reason"] for got in letters) == ["unreadable"] * 4 + [last]
    found = results(broker, topic, 21)
    assert sorted(int(r["id"]) for r in found) == list(range(1, 22))
    assert all(r["y"] == pytest.approx(2.0 * int(r["id"])) for r in found)


def test_the_row_id_may_stand_in_the_key_alone(
    place: Place, broker: Broker, topic: str, start: Start
):
    broker.produce(topic, ['{"x": 1.0}', '{"x": 2.0}', '{"id": 3, "x": 3.0}'], keys=["1", "2", "9"])
    broker.produce(topic, ['{"x": 4.0}'])
    broker.produce(topic, ['{"x": 5.0}'], keys=["no number"])
    place.job(row_id=["id"], inputs={"id": {"type": "int64"}, "x": {"type": "float64"}})
    place.model(linear(columns=("id", "x")))
    start(place, topic, "--until-end").end()
    assert sorted(r["id"] for r in results(broker, topic, 3)) == [1, 2, 3]
    letters = dead(broker, topic, 2)
    assert {got.headers["reason"] for got in letters} == {"unreadable"}


def test_several_row_ids_are_a_json_object_in_the_key(
    place: Place, broker: Broker, topic: str, start: Start
):
    place.job(row_id=["day", "id"])
    key = json.dumps({"day": "2013-02-01", "id": "a7"})
    broker.produce(topic, ['{"x": 1.5}'], keys=[key])
    assert start(place, topic, "--until-end").end() == 0
    (found,) = results(broker, topic, 1)
    assert (found["day"], found["id"], found["y"]) == ("2013-02-01", "a7", pytest.approx(3.0))


def test_a_result_that_is_too_large_is_a_dead_letter(
    place: Place, broker: Broker, topic: str, start: Start
):
    place.job(output={"prediction": "y", "keep": ["note"]})
    broker.produce(topic, [row(1, note="n" * 8_000), row(2, note="n")])
    stream = start(place, topic, "--until-end", extra={"message.max.bytes": 8_100})
    assert stream.end() == 0
    assert [r["id"] for r in results(broker, topic, 1)] == [2]
    (letter,) = dead(broker, topic, 1)
    assert letter.headers["reason"] == "result_too_large"
    assert stream.group()["messages"]["result_too_large"] == 1


def test_a_message_whose_key_is_too_large_for_a_dead_letter_stops_nobody(
    place: Place, broker: Broker, topic: str, start: Start
):
    broker.produce(topic, ["no row"], keys=["k" * 1_900])
    broker.produce(topic, [row(1)])
    stream = start(place, topic, "--until-end", extra={"message.max.bytes": 2_000})
    assert stream.end() == 0
    (letter,) = dead(broker, topic, 1)
    assert letter.headers["reason"] == "unreadable"
    assert (letter.headers["value_bytes"], "source_key" in letter.headers) == ("6", False)
    assert len(results(broker, topic, 1)) == 1


def test_a_second_run_goes_on_where_the_first_has_ended(
    place: Place, broker: Broker, topic: str, start: Start
):
    broker.produce(topic, [row(n) for n in range(10)])
    assert start(place, topic, "--until-end").end() == 0
    broker.produce(topic, [row(n) for n in range(10, 15)])
    second = start(place, topic, "--until-end")
    assert second.end() == 0
    assert second.total() == 5
    assert sorted(r["id"] for r in results(broker, topic, 15)) == list(range(15))


def test_a_new_group_may_begin_at_the_end(place: Place, broker: Broker, topic: str, start: Start):
    broker.produce(topic, [row(n) for n in range(4)])
    late = start(place, topic, "--start", "latest", "--group", "late")
    late.wait(lambda: "reads partitions" in late.log.read_text())
    places = broker.produce(topic, [row(n) for n in range(100, 110)])
    late.wait(lambda: late.total("late.sample") >= len(places))
    ids = {r["id"] for r in results(broker, topic, 10)}
    assert set(range(100, 110)) <= ids
    assert late.stop() == 0
