"""The answers to a partition's rows, request by request, beside what is published for each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.narrow import is_number
from scoring.arrow.text import as_text, decoded, is_numeric_text
from scoring.destinations.manifest import Manifest
from scoring.job.columns import ROW_NUMBER
from scoring.job.schema import Job
from scoring.pipeline.checked_rows import LEFT_OUT, QUARANTINED, SCORED
from scoring.serving.parity.answered_rows import AnsweredRows, Column
from scoring.serving.parity.differences import NOT_ANSWERED, NOT_PUBLISHED, Differences, differing
from scoring.serving.parity.published_rows import PublishedRows, Unscored, UnscoredRows

_DUPLICATE = "duplicate_row_id"
_AHEAD_ROWS = 2_000
"""How far ahead a published row is looked for, when a row between is missing."""


@dataclass(frozen=True)
class _Request:
    """Rows that were sent, the answers to them, and how many rows of the source precede them."""

    rows: pa.Table
    answers: AnsweredRows
    before: int


class Comparison:
    """Compares answers with the published partition of ``manifest``; ``take`` each request in order,
    then ``end``.

    ``left_out`` are the stored rows that are left out; None where the partition only counts them.
    ``same_types`` says whether the service was given the stored types, so that it shows the values
    of quarantined rows with the same texts.
    """

    def __init__(
        self,
        job: Job,
        manifest: Manifest,
        predictions: PublishedRows,
        quarantine: UnscoredRows,
        left_out: UnscoredRows | None,
        same_types: bool,
    ) -> None:
        self.differences = Differences(hidden=not job.checks.examples)
        self.compared: Counter[str] = Counter()
        self.rows = 0
        self._ids = job.id_columns
        self.outputs = [name for name in predictions.schema.names if name not in self._ids]
        self._manifest, self._same_types = manifest, same_types
        self._predictions, self._quarantine, self._left_out = predictions, quarantine, left_out
        self._counts_left_out = left_out is None and manifest.rows.left_out > 0
        self._left_out_reasons: Counter[str] = Counter()

    def take(self, rows: pa.Table, answers: AnsweredRows) -> None:
        """Compare the answers to ``rows``, which follow those that were taken before."""
        request = _Request(rows, answers, self.rows)
        self.rows += rows.num_rows
        self._check_model(request)
        self._check_numbers(request)
        first, last = request.before + 1, self.rows
        unscored = self._quarantine.between(first, last)
        left_out = self._left_out.between(first, last) if self._left_out else {}
        predicted = []
        for place, status in enumerate(answers.status):
            number = first + place
            if number in unscored:
                self._check_quarantined(request, place, unscored[number])
            elif number in left_out:
                self._check_left_out(request, place, left_out[number])
            elif status == LEFT_OUT and self._counts_left_out:
                self.compared[LEFT_OUT] += 1
                self._left_out_reasons[answers.reason[place] or ""] += 1
            else:
                predicted.append(place)
        self._check_predicted(request, predicted)

    def end(self) -> None:
        """Compare what is left: published rows that the source does not have, and counts."""
        for kind, rows in {
            SCORED: self._predictions.left,
            QUARANTINED: self._quarantine.after(self.rows),
            LEFT_OUT: self._left_out.after(self.rows) if self._left_out else 0,
        }.items():
            if rows:
                self._differs_as_a_whole(f"{kind} rows", f"{rows:,} more", "not in the source")
        published = self._manifest.rows
        if published.rows_in != self.rows:
            self._differs_as_a_whole("rows in", published.rows_in, self.rows)
        if self._predictions.rows != published.scored:
            self._differs_as_a_whole("scored rows", published.scored, self._predictions.rows)
        if self._counts_left_out:
            answered, of = self._left_out_reasons, published.left_out_reasons
            for reason in sorted({*of, *answered}):
                if of.get(reason, 0) != answered[reason]:
                    self._differs_as_a_whole(
                        f"{LEFT_OUT}: {reason}", of.get(reason, 0), answered[reason]
                    )

    def _check_model(self, request: _Request) -> None:
        """Compare version and digest: one difference for each that a request differs in."""
        model = self._manifest.model
        for version, digest in request.answers.models:
            for name, published, answered in (
                ("model_version", model.version, version),
                ("model_sha256", model.sha256, digest),
            ):
                if published != answered:
                    self.differences.add(
                        request.before + 1, {}, name, published, answered, of_job=True
                    )

    def _check_numbers(self, request: _Request) -> None:
        for place in request.answers.doubled:
            self._differs(request, place, "status", "one answer", "more than one answer")
        for number in request.answers.others:
            self._differs_as_a_whole("row", f"1 to {request.rows.num_rows}", number)

    def _check_quarantined(self, request: _Request, place: int, published: Unscored) -> None:
        if published.reason == _DUPLICATE:  # a rule about all rows, which no service sees
            self.compared[_DUPLICATE] += 1
            if request.answers.status[place] is None:
                self._differs(request, place, "status", SCORED, NOT_ANSWERED)
            return
        self.compared[QUARANTINED] += 1
        if not self._has_status(request, place, QUARANTINED, published.reason):
            return
        answers = request.answers
        answered = Unscored(
            answers.reason[place] or "", answers.column[place], answers.value[place]
        )
        if answered.reason != published.reason:
            self._differs(request, place, "reason", published.reason, answered.reason)
        elif answered.column != published.column:
            self._differs(request, place, "column", published.column, answered.column)
        elif not self._is_same_value(request, published, answered):
            self._differs(request, place, "value", published.value, answered.value)

    def _check_left_out(self, request: _Request, place: int, published: Unscored) -> None:
        self.compared[LEFT_OUT] += 1
        reason = request.answers.reason[place]
        if (
            self._has_status(request, place, LEFT_OUT, published.reason)
            and reason != published.reason
        ):
            self._differs(request, place, "reason", published.reason, reason)

    def _has_status(self, request: _Request, place: int, status: str, reason: str) -> bool:
        if request.answers.status[place] == status:
            return True
        self._differs(request, place, "status", f"{status} ({reason})", _status(request, place))
        return False

    def _is_same_value(self, request: _Request, published: Unscored, answered: Unscored) -> bool:
        if published.value == answered.value:
            return True
        if self._same_types or published.column not in request.rows.column_names:
            return False
        kind = request.rows.schema.field(published.column).type
        return _is_same_in_json(published.value, answered.value, kind)

    def _check_predicted(self, request: _Request, places: list[int]) -> None:
        """Compare the answers at ``places`` with the next published predictions, row by row."""
        if not places:
            return
        at, answers = np.array(places), request.answers
        published = self._predictions.peek(len(places))
        all_scored = all(answers.status[place] == SCORED for place in places)
        positions = np.arange(published.num_rows)
        if not all_scored or len(positions) < len(at) or self._ids_differ(request, at, published):
            published = self._predictions.peek(len(places) + _AHEAD_ROWS)
            at, positions = self._matched(request, places, published)
        else:
            self._predictions.skip(len(at))
        self.compared[SCORED] += len(at)
        published = published.take(pa.array(positions))
        for name in self.outputs:
            self._check_output(request, at, published, name)

    def _check_output(
        self, request: _Request, at: np.ndarray[Any, Any], published: pa.Table, name: str
    ) -> None:
        answered = request.answers.columns[name]
        values = answered.values.take(pa.array(at, pa.int64()))
        expected = combined_column(published, name)
        wrong = differing(expected, values)
        if answered.unread:
            wrong |= np.isin(at, list(answered.unread))
        for index in np.flatnonzero(wrong):
            place = int(at[index])
            found = answered.unread.get(place, values[index].as_py())
            self._differs(request, place, name, expected[index].as_py(), found)

    def _ids_differ(self, request: _Request, at: np.ndarray[Any, Any], published: pa.Table) -> bool:
        for name in self._ids:
            column = self._answered_id(request, name)
            values = column.values.take(pa.array(at, pa.int64()))
            if differing(combined_column(published, name), values).any():
                return True
        return False

    def _answered_id(self, request: _Request, name: str) -> Column:
        if name != ROW_NUMBER:
            return request.answers.columns[name]
        # A service numbers the rows of each request from 1; here they are those of the source.
        numbers = np.arange(request.rows.num_rows) + request.before + 1
        return Column(pa.array(numbers, self._predictions.schema.field(name).type))

    def _matched(
        self, request: _Request, places: list[int], published: pa.Table
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return which of ``places`` were scored and published, and where in ``published`` they are;
        the others are differences.

        A row is known by its ids; one whose answer has none by its place.
        """
        keys = list(zip(*(_keys(combined_column(published, n)) for n in self._ids), strict=True))
        position_of = {key: position for position, key in enumerate(keys)}
        columns = [self._answered_id(request, name).values for name in self._ids]
        answered = list(zip(*map(_keys, columns), strict=True))
        at, positions, ahead = [], [], 0
        for place in places:
            position = position_of.get(answered[place])
            if position is None and None in answered[place] and ahead < len(keys):
                position = ahead
            status = _status(request, place)
            if position is None or position < ahead:
                self._differs(request, place, "status", NOT_PUBLISHED, status)
                continue
            for missed in range(ahead, position):
                self._not_answered(published.slice(missed, 1))
            ahead = position + 1
            if status == SCORED:
                at.append(place)
                positions.append(position)
                self._check_ids(request, place, published.slice(position, 1))
            else:
                self._differs(request, place, "status", SCORED, status)
        self._predictions.skip(ahead)
        return np.array(at, np.int64), np.array(positions, np.int64)

    def _check_ids(self, request: _Request, place: int, row: pa.Table) -> None:
        """Compare the ids of an answer that was taken for that of ``row`` by its place."""
        for name in self._ids:
            answered = self._answered_id(request, name)
            if not answered.values[place].is_valid:
                found = answered.unread.get(place)
                self._differs(request, place, name, row.column(name)[0].as_py(), found)

    def _not_answered(self, row: pa.Table) -> None:
        ids = {name: row.column(name)[0].as_py() for name in self._ids}
        self.differences.add(None, ids, "status", SCORED, NOT_ANSWERED, of_job=True)

    def _differs(
        self, request: _Request, place: int, column: str, published: Any, answered: Any
    ) -> None:
        number = request.before + place + 1
        ids = {} if self.differences.full else self._ids_of(request, place)
        of_job = column in ("status", "reason", "column")
        self.differences.add(number, ids, column, published, answered, of_job=of_job)

    def _ids_of(self, request: _Request, place: int) -> dict[str, str]:
        """Return the ids of a row as the source has them, if they are not derived from it."""
        names: Iterable[str] = (name for name in self._ids if name in request.rows.column_names)
        return {
            name: as_text(combined_column(request.rows, name).slice(place, 1))[0].as_py()
            for name in names
        }

    def _differs_as_a_whole(self, column: str, published: Any, answered: Any) -> None:
        self.differences.add(None, {}, column, published, answered, of_job=True)


def _status(request: _Request, place: int) -> str:
    status, reason = request.answers.status[place], request.answers.reason[place]
    if status is None:
        return NOT_ANSWERED
    return status if reason is None else f"{status} ({reason})"


def _keys(values: pa.Array) -> list[Any]:
    """Return values that are equal where rows have the same id: floats by their text."""
    texts = pa.types.is_floating(values.type) or pa.types.is_nested(values.type)
    found = decoded(values).to_pylist()
    return [None if v is None else repr(v) for v in found] if texts else found


def _is_same_in_json(published: str | None, answered: str | None, kind: pa.DataType) -> bool:
    """Return whether two texts stand for one value of type ``kind`` on its way through JSON: NaN is
    sent as null, a float32 with the digits of a float64, a moment as ISO 8601 has it.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if published is None or answered is None:
        return pa.types.is_floating(kind) and published == "nan" and answered is None
    try:
        if pa.types.is_floating(kind):
            number = np.dtype(kind.to_pandas_dtype()).type
            return bool(number(published) == number(answered))
        if is_number(kind) or is_numeric_text(kind):
            return Decimal(published) == Decimal(answered)
        if pa.types.is_temporal(kind) or pa.types.is_boolean(kind):
            one, other = pa.array([published, answered], pa.string()).cast(kind)
            return bool(one == other)
    except (pa.ArrowException, ArithmeticError, ValueError):
        pass
    return False
