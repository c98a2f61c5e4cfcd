"""Scoring messages where one of them may break the model, or the model all of them.

A message for which scoring fails is scored alone. It is to blame if the same model scores another
message: one beside it, or the last one that it scored before. Otherwise the model is to blame, and
nothing is decided about the messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from scoring.errors import ContractError, ScorerError, ScoringError, resource_error
from scoring.serving.bodies import Rows
from scoring.serving.scorer import Answers, RequestScorer
from scoring.serving.stream.messages import Envelope, Outgoing
from scoring.serving.stream.received import Received
from scoring.serving.stream.settings import Format
from scoring.serving.stream.status import FAILED, UNREADABLE
from scoring.serving.stream.values import Decoded, Part, decoded


class BrokenScorerError(ScorerError):
    """A model that scores none of the messages that it is given."""


class CarefulScorer:
    """Scores messages with ``scorer``; ``envelope`` makes what is sent for them."""

    def __init__(self, scorer: RequestScorer, envelope: Envelope, kind: Format) -> None:
        self.scorer = scorer
        self.envelope = envelope
        self._kind = kind
        self.last_scored: Received | None = None

    def score(self, messages: Sequence[Received]) -> list[Outgoing]:
        """Return what each of ``messages`` becomes, in their order.

        Raises BrokenScorerError, and ResourceError where this machine has too little left.
        """
        found = self._decoded(messages)
        outgoing: dict[int, Outgoing] = {
            place: self.envelope.dead(messages[place], UNREADABLE, error=why)
            for place, why in found.unreadable.items()
        }
        failed: dict[int, Exception] = {}
        for part in found.parts:
            self._score_part(messages, part, outgoing, failed)
        if failed:
            self._check_that_it_scores(failed)
            for place, error in failed.items():
                outgoing[place] = self.envelope.dead(messages[place], FAILED, error=_text(error))
        return [outgoing[place] for place in range(len(messages))]

    def problem_with(self, message: Received) -> str | None:
        """Return why ``message`` can be neither read nor scored; None if it can."""
        found = self._decoded([message])
        if found.unreadable:
            return found.unreadable[0]
        try:
            self.scorer.score(found.parts[0].rows)
        except Exception as error:  # noqa: BLE001 - whatever a model raises
            return _text(error)
        return None

    def _decoded(self, messages: Sequence[Received]) -> Decoded:
        return decoded(messages, self.scorer.columns, self.scorer.job, self._kind)

    def _score_part(
        self,
        messages: Sequence[Received],
        part: Part,
        outgoing: dict[int, Outgoing],
        failed: dict[int, Exception],
    ) -> None:
        """Score the rows of ``part``; where that fails, those of each half of it."""
        try:
            answers = self.scorer.score(part.rows)
        except Exception as error:  # whatever a model raises
            if found := resource_error(error):
                raise found from error
            if len(part.places) == 1:
                place = part.places[0]
                if isinstance(
                    error, ContractError
                ):  # a column of the message is another kind of thing
                    letter = self.envelope.dead(messages[place], UNREADABLE, error=str(error))
                    outgoing[place] = letter
                else:
                    failed[place] = error
                return
            for half in _halves(part):
                self._score_part(messages, half, outgoing, failed)
            return
        self._take(messages, part.rows, part.places, answers, outgoing)

    def _take(
        self,
        messages: Sequence[Received],
        rows: Rows,
        places: list[int],
        answers: Answers,
        outgoing: dict[int, Outgoing],
    ) -> None:
        sources = [messages[place] for place in places]
        made = self.envelope.answered(self.scorer, rows, answers, sources)
        outgoing.update(zip(places, made, strict=True))
        if len(answers.rows):
            self.last_scored = sources[int(answers.rows[-1])]

    def _check_that_it_scores(self, failed: dict[int, Exception]) -> None:
        """Raise BrokenScorerError unless the model scores what it has scored before, or just now."""
        problem = _text(next(iter(failed.values())))
        if self.last_scored is None:
            raise BrokenScorerError(
                f"version {self.scorer.file.version} fails for each of {len(failed):,} messages, and "
                f"has scored none yet: {problem}"
            )
        if self.problem_with(self.last_scored) is not None:
            raise BrokenScorerError(
                f"version {self.scorer.file.version} no longer scores what it has scored before: "
                f"{problem}"
            )


def _halves(part: Part) -> list[Part]:
    middle, count = len(part.places) // 2, len(part.places)
    return [
        Part(part.rows.slice(start, end - start), part.places[start:end])
        for start, end in ((0, middle), (middle, count))
    ]


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, ScoringError) else f"{type(error).__name__}: {error}"
