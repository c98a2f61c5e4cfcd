"""What `python -m benchmarks streaming` makes of samples and of the times of results; its loops."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from benchmarks.peers.stream_loops import check, predict_batch, predict_rows, score
from benchmarks.streaming import Ran, Span


class Model:
    feature_names_in_ = ("hour", "dep_delay")

    def predict(self, table: Any) -> Any:
        assert list(table.columns) == ["hour", "dep_delay"]
        return (table["hour"] + table["dep_delay"]).to_numpy()


class Sent:
    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}

    def produce(self, topic: str, value: str, key: str, on_delivery: object) -> None:
        assert (topic, on_delivery) == ("results", check)
        self.messages[key] = json.loads(value)


class Message:
    def __init__(self, number: int, dep_delay: float | None) -> None:
        row = {"time_hour": "2013-12-01T05:00:00Z", "carrier": "UA", "flight": 1, "origin": "EWR"}
        self.number, self.text = number, json.dumps(row | {"hour": 5, "dep_delay": dep_delay})

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return "flights"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self.number

    def value(self) -> bytes:
        return self.text.encode()


def test_a_span_leaves_out_the_first_tenth_of_the_results() -> None:
    stamps = [*range(3_000, 1_000, -100)]  # in any order
    assert Span.of(stamps) == Span(results=17, begin=1.3, end=3.0)
    assert Span.of(stamps).seconds == pytest.approx(1.7)


def test_what_was_used_between_two_samples_counts_in_part() -> None:
    ran = Ran([(10.0, 2.0, 100), (11.0, 3.0, 200), (12.0, 3.5, 150)])
    assert ran.cpu_seconds(10.5, 12.0) == pytest.approx(1.0)
    assert ran.resident(10.5, 11.5) == [200]


@pytest.mark.parametrize("predict", [predict_batch, predict_rows])
def test_a_loop_sends_a_result_for_each_flight_that_left(predict: Any) -> None:
    sent: Any = Sent()
    messages: Any = [Message(7, 1.5), Message(8, None), Message(9, -2.0)]
    score(messages, lambda rows: predict(Model(), rows), sent, "results")
    places = [
        (found["source_partition"], found["source_offset"]) for found in sent.messages.values()
    ]
    assert places == [(3, 7), (3, 9)]
    assert [found["predicted_arr_delay"] for found in sent.messages.values()] == [6.5, 3.0]
    assert list(sent.messages) == ["flights/3/7", "flights/3/9"]


def test_a_loop_ends_where_a_result_is_refused() -> None:
    message: Any = Message(1, 0.0)
    check(None, message)
    with pytest.raises(KafkaException):
        check(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), message)
