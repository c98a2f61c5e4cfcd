"""Scoring messages where one of them may break the model, or the model all of them.

A message for which scoring fails is scored alone. It is to blame if the same model scores another
message: one beside it, or the last one that it scored before. Otherwise the model is to blame, and
nothing is decided about the messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from scoring.errors import ContractError, ScorerError, ScoringError, raise_if_resource_error
from scoring.serving.bodies import Rows
from scoring.serving.scorer import Answers, RequestScorer
from scoring.serving.stream.messages import Envelope, Outgoing
from scoring.serving.stream.received import Received
from scoring.serving.stream.settings import Format
from scoring.serving.stream.status import FAILED, UNREADABLE
from scoring.serving.stream.values import Decoded, Part, decoded

_SAMPLE = 64
"""So many messages have to fail before a model that has scored none yet is said to score nothing."""


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
        failed: list[Part] = []
        for part in found.parts:
            self._score_part(messages, part, outgoing, failed)
        self._blame(messages, failed, outgoing)
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
        """Return the rows of ``messages``; one that ends the reading of all is unreadable."""
        try:
            return decoded(messages, self.scorer.columns, self.scorer.job, self._kind)
        except Exception as error:  # noqa: BLE001 - a hostile value may raise anything
            raise_if_resource_error(error)
            if len(messages) == 1:
                return Decoded([], {0: _text(error)})
        middle = len(messages) // 2
        first, second = self._decoded(messages[:middle]), self._decoded(messages[middle:])
        parts = [Part(p.rows, [place + middle for place in p.places]) for p in second.parts]
        unreadable = {place + middle: why for place, why in second.unreadable.items()}
        return Decoded([*first.parts, *parts], {**first.unreadable, **unreadable})

    def _score_part(
        self,
        messages: Sequence[Received],
        part: Part,
        outgoing: dict[int, Outgoing],
        failed: list[Part],
    ) -> None:
        """Score the rows of ``part``; where that fails, find those that it fails for."""
        error = self._try(messages, part, outgoing)
        if error is not None:
            self._check_before_search(messages, part, error)
            self._search(messages, part, error, outgoing, failed)

    def _try(
        self, messages: Sequence[Received], part: Part, outgoing: dict[int, Outgoing]
    ) -> Exception | None:
        """Score the rows of ``part``; return the exception that it ends in.

        That is a ContractError where the rows are to blame: for what they are, or for what they have to
        be repeated.
        """
        try:
            answers = self.scorer.score(part.rows)
        except Exception as error:  # noqa: BLE001 - whatever a model raises
            raise_if_resource_error(error)
            return error
        try:
            self._take(messages, part.rows, part.places, answers, outgoing)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            return ContractError(f"the row cannot be written as a result: {_text(error)}")
        return None

    def _search(
        self,
        messages: Sequence[Received],
        part: Part,
        error: Exception,
        outgoing: dict[int, Outgoing],
        failed: list[Part],
    ) -> None:
        """Score each half of ``part``, for which scoring has ended in ``error``."""
        if len(part.places) == 1:
            place = part.places[0]
            if isinstance(error, ContractError):
                letter = self.envelope.dead(messages[place], UNREADABLE, error=str(error))
                outgoing[place] = letter
            else:
                failed.append(part)
            return
        for half in _halves(part):
            if (of_half := self._try(messages, half, outgoing)) is not None:
                self._search(messages, half, of_half, outgoing, failed)

    def _blame(
        self, messages: Sequence[Received], failed: list[Part], outgoing: dict[int, Outgoing]
    ) -> None:
        """Make dead letters of those that fail once more, while the model scores others.

        Once more, as what the model needs may have been away for a moment.
        """
        blamed: dict[int, Exception] = {}
        for part in failed:
            if (error := self._try(messages, part, outgoing)) is not None:
                blamed[part.places[0]] = error
        if not blamed:
            return
        if self.last_scored is None or self.problem_with(self.last_scored) is not None:
            self._raise_broken(next(iter(blamed.values())), len(blamed))
        for place, error in blamed.items():
            outgoing[place] = self.envelope.dead(messages[place], FAILED, error=_text(error))

    def _check_before_search(
        self, messages: Sequence[Received], part: Part, error: Exception
    ) -> None:
        """Raise BrokenScorerError for a model that scores nothing, before each message is tried."""
        if isinstance(error, ContractError):
            return
        if self.last_scored is not None:
            broken = self.problem_with(self.last_scored) is not None
        else:
            step = max(1, len(part.places) // _SAMPLE)
            some = [messages[place] for place in part.places[::step]]
            broken = all(self.problem_with(message) is not None for message in some)
        if broken:
            self._raise_broken(error, len(part.places))

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

    def _raise_broken(self, error: Exception, count: int) -> NoReturn:
        version, problem = self.scorer.file.version, _text(error)
        if self.last_scored is None:
            raise BrokenScorerError(
                f"version {version} fails for each of {count:,} messages, and has scored none yet: "
                f"{problem}"
            )
        raise BrokenScorerError(
            f"version {version} no longer scores what it has scored before: {problem}"
        )


def _halves(part: Part) -> list[Part]:
    middle, count = len(part.places) // 2, len(part.places)
    return [
        Part(part.rows.slice(start, end - start), part.places[start:end])
        for start, end in ((0, middle), (middle, count))
    ]


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, ScoringError) else f"{type(error).__name__}: {error}"
