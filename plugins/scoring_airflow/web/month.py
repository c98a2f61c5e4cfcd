"""What is known of one partition, read for its page: the manifest, what is held, its evaluation, its
references and its runs.

A part that cannot be read says so in its place; the others are shown all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from scoring.contract.advice import advice_for
from scoring.contract.rules import Rule
from scoring.destinations.examples import QuarantinedRow, quarantine_examples
from scoring.destinations.manifest import ChallengerRecord, Manifest, RowsRecord
from scoring.errors import ModelError, PublicationError
from scoring.job.partitions import Partition
from scoring.models.base import ProfileFile
from scoring.monitoring.accuracy import ClassFigures
from scoring.monitoring.difference import Difference
from scoring.monitoring.distribution import Distribution, of_manifest
from scoring.monitoring.drift import ColumnDrift, worst_first
from scoring.monitoring.evaluation import Evaluation
from scoring.monitoring.histogram import Histogram, histogram
from scoring.monitoring.judgement import main_reference
from scoring.pipeline.challengers import challenger_context
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.evaluate import read_evaluation
from scoring.pipeline.hold import Held, held_extraction, held_rows, read_held
from scoring.pipeline.references import of_published, references
from scoring_airflow.stored_dags import DatedRun, StoredJob, runs_of_partition
from scoring_airflow.web import charts
from scoring_airflow.web.cells import Cell, job_cells
from scoring_airflow.web.jobs import covered_job, in_words, partition_context, published

T = TypeVar("T")

COLUMNS = 12
"""So many columns are drawn, unless all are asked for: a model may have hundreds of inputs."""

BRANCHES = 8
"""So many ways of rows are drawn; those with fewer rows are drawn as one."""


@dataclass(frozen=True)
class Asked:
    """What the address of the page asks for: the reference to draw, by default the main one, and
    whether all columns are drawn.
    """

    against: str = ""
    shows_all: bool = False


@dataclass(frozen=True)
class Read(Generic[T]):
    """What was read; where it could not be, ``problem`` says why."""

    value: T | None = None
    problem: str | None = None


def _read(what: str, read: Callable[[], T | None]) -> Read[T]:
    try:
        return Read(read())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a part, the others are shown
        return Read(problem=in_words(error, what))


@dataclass(frozen=True)
class Column:
    """A column on the page: its picture, the numbers in it, and its drift from the reference.

    ``histogram`` is None where its values cannot be drawn.
    """

    name: str
    role: str
    histogram: Histogram | None
    drawing: charts.Drawing | None
    drift: ColumnDrift | None


@dataclass(frozen=True)
class Rows:
    """Scored rows, published or held: how many, what they look like, how they differ.

    ``drift`` is from all references, the main one first, and ``drift_is_recorded`` whether it was
    found when the rows were scored. ``reference`` is the one that is drawn. ``texts`` are examples of
    quarantined rows in words, of what is held.
    """

    counts: RowsRecord
    model_version: str
    own: Distribution
    drift: list[ColumnDrift]
    drift_is_recorded: bool
    references: dict[str, Distribution]
    reference: str | None
    problem: str | None = None
    texts: dict[str, list[str]] = field(default_factory=dict)
    shows_all: bool = False

    @cached_property
    def flow(self) -> charts.Drawing:
        of = self.counts
        branches = [charts.Branch("scored", "scored", of.scored)]
        for kind, reasons in (("quarantined", of.reasons), ("left-out", of.left_out_reasons)):
            ordered = self.by_count(reasons)
            drawn, others = ordered[:BRANCHES], ordered[BRANCHES:]
            if others:
                drawn.append((f"{len(others)} more reasons", sum(n for _, n in others)))
            branches += [charts.Branch(kind, reason, count) for reason, count in drawn]  # type: ignore[arg-type]
        return charts.flow(of.rows_in, branches, "What became of the rows")

    def share(self, rows: int) -> float:
        return rows / self.counts.rows_in if self.counts.rows_in else 0.0

    @staticmethod
    def by_count(reasons: dict[str, int]) -> list[tuple[str, int]]:
        """Return reasons, the most frequent first."""
        return sorted(reasons.items(), key=lambda item: -item[1])

    @property
    def worst(self) -> list[ColumnDrift]:
        return worst_first(self.drift)

    @property
    def main(self) -> list[ColumnDrift]:
        """The drift by which the rows were judged, the column that has moved most first."""
        return worst_first(main_reference(self.drift))

    @property
    def moved(self) -> list[ColumnDrift]:
        return [one for one in self.main if one.has_moved]

    @cached_property
    def compared(self) -> list[ColumnDrift]:
        """The drift from the reference that is drawn, the column that has moved most first."""
        return worst_first([one for one in self.drift if one.reference == self.reference])

    @cached_property
    def names(self) -> list[tuple[str, str]]:
        """Role and name of each column: outputs first, then inputs, those that have moved most first."""
        moved = enumerate(self.compared)
        place: dict[tuple[str, str], int] = {(of.role, of.column): n for n, of in moved}
        every = [("output", name) for name in self.own.outputs]
        every += [("input", name) for name in self.own.inputs]
        return sorted(every, key=lambda of: (of[0] == "input", place.get(of, len(place)), of[1]))

    @property
    def columns(self) -> list[Column]:
        """The first columns, or all of them where they are asked for."""
        return [self._column(*of) for of in self.names[: None if self.shows_all else COLUMNS]]

    @property
    def more(self) -> int:
        """How many columns are not drawn."""
        return 0 if self.shows_all else max(0, len(self.names) - COLUMNS)

    def _column(self, role: str, name: str) -> Column:
        other = self.references.get(self.reference or "", Distribution())
        mine, theirs = (
            (self.own.outputs, other.outputs)
            if role == "output"
            else (self.own.inputs, other.inputs)
        )
        drawn = histogram(mine[name], theirs.get(name))
        against = self.reference if name in theirs else None
        drawing = charts.distribution(drawn, name, against) if drawn else None
        found = (one for one in self.compared if (one.role, one.column) == (role, name))
        return Column(name, role, drawn, drawing, next(found, None))


@dataclass(frozen=True)
class Month:
    """One partition of a job.

    ``cell`` is its state as on the first page, None where that is not known (``problem``).
    ``examples`` are quarantined rows by rule. ``run_id`` is the run whose tab this page is.
    """

    stored: StoredJob
    context: PartitionContext
    cell: Cell | None
    problem: str | None
    manifest: Manifest | None
    rows: Rows | None
    held: Read[Held]
    held_rows: Read[Rows]
    examples: Read[dict[str, list[QuarantinedRow]]]
    evaluation: Read[Evaluation]
    runs: list[DatedRun]
    run_id: str | None = None

    @property
    def partition(self) -> Partition:
        return self.context.partition

    @property
    def job(self) -> Any:
        return self.context.job

    @property
    def previous(self) -> Partition | None:
        found = self.partition.previous()
        return None if found < self.job.first_partition else found

    @property
    def next(self) -> Partition | None:
        found, last = self.partition.next(), self.job.last_partition
        return None if last and last < found else found

    @property
    def publishing_run(self) -> tuple[str, str] | None:
        """The Dag and the run that published, if it was one of Airflow's and of this Dag."""
        run = self.manifest.run if self.manifest else {}
        dag_id, run_id = run.get("dag_id"), run.get("run_id")
        return (dag_id, run_id) if dag_id == self.stored.dag_id and run_id else None

    @property
    def policy(self) -> str | None:
        """Why this model version scored what is published, in words; None for a job without models."""
        if self.manifest is None or self.job.model is None:
            return None
        scored_by = self.manifest.model.version
        pinned = self._pinned_by_its_run
        if pinned:
            return f"the conf of its run asks for {pinned}"
        policy = self.job.model.policy
        try:
            due = self.job.version_for(self.partition)
        except ModelError as error:
            return str(error)
        if due.version != scored_by and not due.pinned_to(scored_by):
            return f"it is not the one in force now: by the policy {policy}, that is {due.version}"
        if policy == "current":
            return "by the policy current: the newest version scores every partition"
        return f"by the policy as_of: in force from {due.in_force_from}"

    @property
    def _pinned_by_its_run(self) -> str | None:
        _, run_id = self.publishing_run or (None, None)
        return next((run.model_version for run in self.runs if run.run_id == run_id), None)

    @property
    def challengers(self) -> list[tuple[ChallengerRecord, Difference | None]]:
        """Return what other versions made of the same rows, and how that differs."""
        records = self.manifest.challengers if self.manifest else []
        return [(one, _difference(one.difference)) for one in records]

    def error_of(self, version: str) -> dict[str, float | None]:
        """Return the figures of a challenger against the actuals; none where there are none."""
        if not self.job.actuals or version not in self.job.challengers:
            return {}
        beside = challenger_context(self.context, version)
        found = _read(f"the evaluation of {version}", lambda: read_evaluation(beside))
        return found.value.figures if found.value else {}

    @property
    def changes(self) -> Difference | None:
        """Return how the predictions differ from those that were published before."""
        return _difference(self.manifest.difference) if self.manifest else None

    @property
    def calibrations(self) -> list[tuple[ClassFigures, charts.Drawing]]:
        found = self.evaluation.value.classification if self.evaluation.value else None
        classes = found.classes if found else []
        return [(c, charts.calibration(c.calibration, c.column)) for c in classes if c.calibration]

    def advice(self, rule: str) -> str:
        """Say what to do about rows that broke ``rule``; nothing for one that this release does not
        know.
        """
        try:
            return advice_for(Rule.parse(rule), self.job)
        except KeyError:
            return ""


def read_month(
    stored: StoredJob, key: str, now: datetime, asked: Asked, run_id: str | None = None
) -> Month:
    """Return what is known of a partition; HTTPException where there cannot be one."""
    context = partition_context(stored, key)
    name = f"{stored.dag_id} {key}"
    manifest = published(context, name)
    covered = covered_job(stored, now, only=[context.partition])
    (job,) = job_cells([covered], now)
    held = _read(f"what is held of {name}", lambda: read_held(context))
    return Month(
        stored=stored,
        context=context,
        cell=job.cells[0] if job.cells else None,
        problem=covered.problem,
        manifest=manifest,
        rows=_published_rows(context, manifest, asked) if manifest else None,
        held=held,
        held_rows=_read(f"what is held of {name}", lambda: _held_rows(context, held.value, asked)),
        examples=_read(
            f"the quarantine of {name}", lambda: _examples(context, manifest) if manifest else None
        ),
        evaluation=_read(f"the evaluation of {name}", lambda: _evaluation(context, manifest)),
        runs=runs_of_partition(stored.dag_id, context.job, context.partition),
        run_id=run_id,
    )


def _published_rows(context: PartitionContext, manifest: Manifest, asked: Asked) -> Rows:
    recorded = [ColumnDrift.model_validate(one) for one in manifest.drift]
    profile = manifest.model.profile
    given = ProfileFile(**profile.model_dump()) if profile else None
    found = _references(context, given)
    problem, drift = found.problem, recorded
    if not recorded:
        computed = _read("the drift", lambda: of_published(context, manifest))
        drift, problem = computed.value or [], problem or computed.problem
    others = found.value or {}
    return Rows(
        counts=manifest.rows,
        model_version=manifest.model.version,
        own=of_manifest(manifest),
        drift=drift,
        drift_is_recorded=bool(recorded),
        references=others,
        reference=_chosen(asked.against, drift, others),
        problem=problem,
        shows_all=asked.shows_all,
    )


def _held_rows(context: PartitionContext, held: Held | None, asked: Asked) -> Rows | None:
    """Return what was read of a partition that is held, and how many predictions there are: what
    they look like is recorded when they are published.
    """
    if held is None:
        return None
    extraction = held_extraction(context, held)
    found = _references(context.with_inputs_of(extraction.model), extraction.model.profile)
    others = found.value or {}
    return Rows(
        counts=held_rows(extraction, held),
        model_version=held.model_version,
        own=Distribution(inputs=extraction.inputs),
        drift=held.drift,
        drift_is_recorded=True,
        references=others,
        reference=_chosen(asked.against, held.drift, others),
        problem=found.problem,
        texts=extraction.examples if context.job.checks.examples else {},
        shows_all=asked.shows_all,
    )


def _references(
    context: PartitionContext, profile: ProfileFile | None
) -> Read[dict[str, Distribution]]:
    """Return the references by name, the main one first; without a profile that cannot be read."""
    found = _read("the references", lambda: dict(references(context, profile)))
    if found.problem and profile is not None:
        others = _read("the references", lambda: dict(references(context, None)))
        return replace(others, problem=found.problem)
    return found


def _chosen(against: str, drift: list[ColumnDrift], others: dict[str, Distribution]) -> str | None:
    names = [*dict.fromkeys(one.reference for one in drift), *others]
    return against if against in names else next(iter(names), None)


def _examples(
    context: PartitionContext, manifest: Manifest
) -> dict[str, list[QuarantinedRow]] | None:
    """Return a few quarantined rows by rule; None where there are none, or the job wants none shown."""
    each = context.job.checks.examples
    if manifest.quarantine is None or not each:
        return None
    uri, folder = manifest.quarantine.uri, f"{context.publisher.uri}/"
    # A manifest is a file like any other: what it names elsewhere is not this job's to show.
    if not uri.startswith(folder) or ".." in uri:
        raise PublicationError(f"{uri} does not lie under {folder}, so it is not read")
    storage = context.connections.storage(uri, context.job.destination.encryption)
    return quarantine_examples(storage, uri, manifest.rows.reasons, each)


def _difference(found: dict[str, Any] | None) -> Difference | None:
    return Difference.model_validate(found) if found is not None else None


def _evaluation(context: PartitionContext, manifest: Manifest | None) -> Evaluation | None:
    return read_evaluation(context) if manifest is not None else None
