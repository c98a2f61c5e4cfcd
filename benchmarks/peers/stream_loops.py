"""What is written by hand: read messages, predict, send results, wait for them, commit.

python -m benchmarks.peers.stream_loops batches|rows BROKER FROM TO COUNT MODEL.skops [TRUSTED TYPE ...]

Ends after COUNT messages. Both send each result under the place of its message, with acks=all, and
commit when all results of what was read together have arrived.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import skops.io
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

IDS = ("time_hour", "carrier", "flight", "origin")
BATCH, WAIT_SECONDS = 4096, 0.1
VERSION = "v2"

Row = dict[str, Any]


def main(
    way: str, broker: str, source: str, target: str, count: str, model_file: str, *trusted: str
) -> None:
    model = skops.io.load(model_file, trusted=list(trusted))
    predict = {"batches": predict_batch, "rows": predict_rows}[way]
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": target,
            "session.timeout.ms": 6_000,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": broker, "acks": "all"})
    consumer.subscribe([source])
    left = int(count)
    while left:
        messages = consumer.consume(min(BATCH, left), WAIT_SECONDS)
        if not messages:
            continue
        left -= len(messages)
        score(messages, lambda rows: predict(model, rows), producer, target)
        if producer.flush(60):
            raise SystemExit("error: results were not acknowledged")
        consumer.commit(asynchronous=False)
    consumer.close()


def score(
    messages: list[Message],
    predict: Callable[[list[Row]], Any],
    producer: Producer,
    target: str,
) -> None:
    """Send a result for each of ``messages`` that has a departure delay: the model fails without."""
    rows, places = [], []
    for message in messages:
        check(message.error(), message)
        row = json.loads(message.value() or b"")
        if row["dep_delay"] is not None:
            rows.append(row)
            places.append((message.topic(), message.partition(), message.offset()))
    if not rows:
        return
    for row, place, prediction in zip(rows, places, predict(rows), strict=True):
        topic, partition, offset = place
        result = {name: row[name] for name in IDS} | {
            "predicted_arr_delay": float(prediction),
            "model_version": VERSION,
            "source_partition": partition,
            "source_offset": offset,
        }
        key = f"{topic}/{partition}/{offset}"
        producer.produce(target, json.dumps(result), key, on_delivery=check)


def check(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        raise KafkaException(error)


def predict_batch(model: Any, rows: list[Row]) -> Any:
    return model.predict(pd.DataFrame(rows)[list(model.feature_names_in_)])


def predict_rows(model: Any, rows: list[Row]) -> Any:
    """Yield the prediction of each row, from a table of its own."""
    names = list(model.feature_names_in_)
    for row in rows:
        yield model.predict(pd.DataFrame([row])[names])[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
