"""What each message becomes: a result, or a dead letter.

The key of both is made of the job, the place of the message (topic, partition, offset) and the digest
of the model, so that a message that is scored again gives an equal one: a compacted topic keeps one
of them, and a consumer can drop the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scoring.errors import ScorerError, quoted
from scoring.job.schema import Job
from scoring.models.base import ModelFile
from scoring.pipeline.checked_rows import LEFT_OUT, QUARANTINED, SCORED
from scoring.serving.answers import json_texts, refusal
from scoring.serving.bodies import Rows
from scoring.serving.scorer import Answers, RequestScorer, outputs_of
from scoring.serving.stream.received import Received
from scoring.serving.stream.status import TOO_LARGE

SOURCE_FIELDS = ("source_topic", "source_partition", "source_offset")
"""What a result says of the message that it is of."""

_FIELDS = ("job", *SOURCE_FIELDS)
_CHARACTERS = 2_000
"""Of a value or an error in a header: the brokers take no message that is too large."""

Headers = list[tuple[str, bytes]]


class Outgoing(NamedTuple):
    """A message on its way out; ``outcome`` is what has become of the one at ``source``."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers | None
    outcome: str
    source: Received


@dataclass(frozen=True)
class Topics:
    """Where results and dead letters go."""

    results: str
    dead_letters: str


class Envelope:
    """Makes the outgoing messages of one version of a job's model.

    Raises ScorerError for a job that publishes a column with the name of a field of a result.
    """

    def __init__(self, job: Job, file: ModelFile, topics: Topics) -> None:
        _check_names(job)
        self._topics = topics
        self._job = job.name
        self._version, self._sha256 = file.version, file.sha256
        self._key_end = f"/{file.sha256}"
        model = {"job": job.name, "model_version": file.version, "model_sha256": file.sha256}
        self._model = json.dumps(model, ensure_ascii=False)[1:-1]
        self._before_offset: dict[tuple[str, int], tuple[str, str]] = {}

    def answered(
        self, scorer: RequestScorer, rows: Rows, answers: Answers, sources: Sequence[Received]
    ) -> Iterator[Outgoing]:
        """Yield a message for each row; ``sources`` are those that the rows came in."""
        texts = json_texts(scorer, rows, answers)
        for number, (source, text) in enumerate(zip(sources, texts, strict=True)):
            refused = answers.refused.get(number)
            if refused is not None and refused.status == QUARANTINED:
                yield self.dead(source, QUARANTINED, *refusal(refused, number, rows))
            else:
                outcome = SCORED if refused is None else LEFT_OUT
                key, place = self._of_partition(source.topic, source.partition)
                yield Outgoing(
                    self._topics.results,
                    f"{key}{source.offset}{self._key_end}".encode(),
                    f"{text[:-1]}{place}{source.offset}}}".encode(),
                    None,
                    outcome,
                    source,
                )

    def dead(
        self,
        source: Received,
        outcome: str,
        reason: str | None = None,
        column: str | None = None,
        value: str | None = None,
        error: str | None = None,
    ) -> Outgoing:
        """Return the dead letter for ``source``: its own value, and in the headers what is wrong.

        ``reason`` is the contract's code; None where ``outcome`` itself is the reason.
        """
        facts = {
            "job": self._job,
            "model_version": self._version,
            "model_sha256": self._sha256,
            "reason": reason or outcome,
            "column": column,
            "value": value and value[:_CHARACTERS],
            "error": error and quoted(error, _CHARACTERS),
            "source_topic": source.topic,
            "source_partition": str(source.partition),
            "source_offset": str(source.offset),
        }
        headers = [(name, text.encode()) for name, text in facts.items() if text is not None]
        if source.key is not None:
            headers.append(("source_key", source.key))
        return Outgoing(
            self._topics.dead_letters,
            self._key(source),
            source.value or b"",
            headers,
            outcome,
            source,
        )

    def smaller(self, large: Outgoing) -> Outgoing | None:
        """Return what is sent in place of a message that is too large; None if nothing is left."""
        if large.topic == self._topics.results:
            error = f"the result has {len(large.value):,} bytes, more than the brokers take"
            return self.dead(large.source, TOO_LARGE, error=error)
        if large.value:  # the message itself is still where it came from
            size = ("value_bytes", str(len(large.value)).encode())
            return large._replace(value=b"", headers=[*(large.headers or []), size])
        headers = [header for header in large.headers or [] if header[0] != "source_key"]
        return large._replace(headers=headers) if headers != large.headers else None

    def _key(self, source: Received) -> bytes:
        key, _ = self._of_partition(source.topic, source.partition)
        return f"{key}{source.offset}{self._key_end}".encode()

    def _of_partition(self, topic: str, partition: int) -> tuple[str, str]:
        """Return what keys and results have before the offset."""
        found = self._before_offset.get((topic, partition))
        if found is None:
            place = f'"source_topic": "{topic}", "source_partition": {partition}'
            found = (
                f"{self._job}/{topic}/{partition}/",
                f', {self._model}, {place}, "source_offset": ',
            )
            self._before_offset[topic, partition] = found
        return found


def _check_names(job: Job) -> None:
    names: list[Any] = [*job.kept_columns, *outputs_of(job)]
    for name in names:
        if name in _FIELDS:
            raise ScorerError(
                f"{job.name} publishes a column {name!r}, which is what each result of a stream has "
                f"({', '.join(_FIELDS)}), so it cannot be streamed; give the column another name"
            )
