"""One version of a job's model, ready to score the rows of requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.text import decoded
from scoring.contract import quarantine
from scoring.engine import score_table
from scoring.errors import ScorerError
from scoring.job.columns import FILE, IN_FILE, ROW
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.models.base import Model, ModelFile
from scoring.pipeline.checked_rows import LEFT_OUT, QUARANTINED, SCORED, RowChecker
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.score import checked_model
from scoring.serving.bodies import Rows
from scoring.serving.columns import PublishedTypes, echoed, request_columns

FIELDS = ("row", "status", "reason", "column", "value", "model_version", "model_sha256")
"""What the answer to a row says besides its ids, outputs and kept columns."""


@dataclass(frozen=True)
class Refused:
    """Why a row got no prediction: ``status`` is QUARANTINED or LEFT_OUT."""

    status: str
    reason: str
    column: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class Answers:
    """What became of ``count`` rows: each has a row of ``scored`` or an entry in ``refused``.

    ``rows`` are the numbers, from 0, of the rows of ``scored``, which is the engine's table of
    predictions.
    """

    count: int
    rows: npt.NDArray[np.int64]
    scored: pa.Table
    refused: dict[int, Refused]

    def outputs(self, names: Iterable[str]) -> dict[str, pa.Array]:
        """Return columns of ``scored``, one value for each row: null for those that got none."""
        place = np.full(self.count, -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        at = pa.array(place, mask=place < 0)
        return {name: decoded(combined_column(self.scored, name)).take(at) for name in names}

    def reasons(self) -> dict[str, pa.Array]:
        """Return ``reason``, ``column`` and ``value`` of each row: null for those that were scored."""
        refused = [self.refused.get(number) for number in range(self.count)]
        return {
            name: pa.array([getattr(r, name) if r else None for r in refused], pa.string())
            for name in ("reason", "column", "value")
        }

    def statuses(self) -> pa.Array:
        """Return what became of each row."""
        refused = (self.refused.get(number) for number in range(self.count))
        return pa.array([r.status if r else SCORED for r in refused], pa.string())

    def split(self, counts: Sequence[int]) -> list[Answers]:
        """Return the answers to requests of so many rows each, which were scored together."""
        found, start = [], 0
        for count in counts:
            first, last = np.searchsorted(self.rows, [start, start + count])
            refused = {
                row - start: self.refused[row]
                for row in range(start, start + count)
                if row in self.refused
            }
            table = self.scored.slice(first, last - first)
            found.append(Answers(count, self.rows[first:last] - start, table, refused))
            start += count
        return found


class RequestScorer:
    """Scores the rows of requests with ``model``, as those of ``partition`` (None: of any).

    ``published`` are the types in which the job's partitions are stored.  One call at a time.
    """

    def __init__(
        self,
        context: PartitionContext,
        file: ModelFile,
        partition: Partition | None,
        published: PublishedTypes,
    ) -> None:
        context = context.with_inputs_of(file)
        self.job = context.job
        self.file = file
        self.model: Model = checked_model(context, file)
        _check_names([*self.job.kept_columns, *outputs_of(self.job)], self.job)
        self._checker = RowChecker(context.job_file, partition, None)
        self.columns = request_columns(self.job, self._checker.expressions, published)
        self.echoed = echoed(self.job, self.columns)

    def score(self, rows: Rows) -> Answers:
        """Return what becomes of ``rows``, each as in a partition, but for rules about a whole
        partition: a row id that comes twice is scored twice.

        Raises ContractError, SourceError and ScorerError for what is wrong with all rows.
        """
        count = rows.table.num_rows
        found = self._checker.check_alone(
            rows,
            _with_file(rows.table, self.job.added_columns),
            rows.unread,
            self.columns.expressions,
        )
        predictions = score_table(found.good, self.model, self.job)
        _check_names(predictions.table.column_names, self.job)
        at = found.good.column(ROW).to_numpy() - 1
        refused: dict[int, Refused] = {}
        if found.quarantined is not None:
            refused |= _refused(found.quarantined, QUARANTINED)
        if found.left_out is not None:
            refused |= _refused(found.left_out, LEFT_OUT)
        scored = np.ones(len(at), dtype=bool)
        for status, table in (
            (QUARANTINED, predictions.rejected),
            (LEFT_OUT, predictions.left_out),
        ):
            for row in table.to_pylist():
                scored[row["position"]] = False
                number = int(at[row["position"]])
                refused[number] = Refused(status, row["reason"], row.get("column"))
        return Answers(count, at[scored], predictions.table, refused)


def outputs_of(job: Job) -> list[str]:
    """Return the outputs that ``job`` names."""
    return [job.output.prediction, *job.output.probabilities]


def _check_names(names: Sequence[str], job: Job) -> None:
    """Raise ScorerError for a column that has the name of a field that each answer has."""
    for name in names:
        if name in FIELDS and name not in job.added_columns:
            raise ScorerError(
                f"{job.name} publishes a column {name!r}, which is what each answer of a service has "
                f"({', '.join(FIELDS)}), so it cannot be served; give the column another name"
            )


def _with_file(table: pa.Table, added: list[str]) -> pa.Table:
    if FILE not in added:
        return table
    return table.append_column(IN_FILE, pa.nulls(table.num_rows, pa.string()))


def _refused(table: pa.Table, status: str) -> dict[int, Refused]:
    """Return why the rows of a quarantine table got no prediction, by their number from 0."""
    return {
        row - 1: Refused(status, reason, column, value)
        for row, reason, column, value in quarantine.reasons(table)
    }
