"""What a job's partitions look like on a page: one cell each, with its state in words.

The state is that of ``scoring.monitoring.coverage``. Where nothing is published, Airflow's runs and
the job's schedule say why: a run is under way or has failed, or is not due yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

from scoring.job.partitions import Kind
from scoring.job.schedule import due_at
from scoring.job.schema import Job
from scoring.monitoring.coverage import Covered
from scoring_airflow.stored_dags import UNDER_WAY, PartitionRun, last_runs, runs_of
from scoring_airflow.web import urls
from scoring_airflow.web.formats import counted, moment
from scoring_airflow.web.jobs import CoveredJob

CellState = Literal[
    "published", "stale", "held", "failed", "missing", "running", "queued", "waiting"
]

ATTENTION: tuple[CellState, ...] = ("failed", "held", "missing", "stale")
"""States that somebody has to look at, the worst first."""

SYMBOLS: dict[CellState, str] = {
    "published": "✓",
    "stale": "S",
    "held": "H",
    "failed": "F",
    "missing": "M",
    "running": "…",
    "queued": "…",
    "waiting": "–",
}

MEANINGS: dict[CellState, str] = {
    "published": "the predictions are there, and up to date",
    "stale": "scoring again may give other predictions",
    "held": "scored, and waits for a decision because of drift",
    "failed": "nothing is published, and the last run has failed",
    "missing": "nothing is published",
    "running": "a run is at work",
    "queued": "a run is queued",
    "waiting": "over, but its run is not due yet",
}

VERSION_COLOURS = 6

_PLACES: dict[Kind, tuple[str, str]] = {
    "month": ("{year}", "{month}"),
    "week": ("{year}", "{week}"),
    "day": ("{year}-{month}", "{day}"),
    "hour": ("{year}-{month}-{day}", "{hour}"),
}


@dataclass(frozen=True)
class Cell:
    """A partition on a page.

    ``number`` counts the job's partitions, ``run`` is Airflow's last one where that is of interest.
    ``colour`` is the number of the model version's colour.
    """

    job: str
    url: str
    covered: Covered
    state: CellState
    number: int
    colour: int | None
    run: PartitionRun | None
    due: datetime | None

    @property
    def key(self) -> str:
        return self.covered.partition.key

    @property
    def place(self) -> tuple[str, str]:
        """The group that the partition is in, such as its year, and its column there."""
        group, column = _PLACES[self.covered.partition.kind]
        fields = self.covered.partition.uri_fields
        return group.format_map(fields), column.format_map(fields)

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.state]

    @property
    def dates(self) -> tuple[str, str]:
        """The range, both ends included, in which the logical date of its run lies."""
        partition = self.covered.partition
        last = partition.end.astimezone(UTC) - timedelta(seconds=1)
        return f"{partition.start.astimezone(UTC):%FT%TZ}", f"{last:%FT%TZ}"

    @property
    def is_marked(self) -> bool:
        """Whether what is published has warnings."""
        return bool(self.covered.published and self.covered.published.warnings)

    @property
    def label(self) -> str:
        """The cell in words, such as ``flight_delay 2013-05: published by v1, 28,000 rows``."""
        return f"{self.job} {self.key}: {self.words}"

    @property
    def words(self) -> str:
        said = [self._state_in_words(), *(reason.detail for reason in self.covered.reasons)]
        published = self.covered.published
        if published and self.state not in ("missing", "failed"):
            said.append(counted(published.rows_scored, "row"))
            if published.rows_quarantined:
                said.append(f"{published.rows_quarantined:,} quarantined")
            if published.warnings:
                said.append(counted(published.warnings, "warning"))
        if self.run and self.state in ("stale", "held", "published"):
            verb = "has failed" if self.run.state == "failed" else f"is {self.run.state}"
            said.append(f"its last run {verb}")
        return ", ".join(said)

    def _state_in_words(self) -> str:
        by = self.covered.model_version
        if self.state == "published":
            return f"published by {by}"
        if self.state == "waiting" and self.due:
            return f"not due until {moment(self.due, UTC)}"
        if by and self.state == "held":
            return f"held, readers have what {by} predicted"
        return self.state


@dataclass(frozen=True)
class JobCells:
    """A job on a page."""

    covered: CoveredJob
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return self.covered.name

    @property
    def url(self) -> str:
        return urls.job(self.name)

    @property
    def kind(self) -> Kind | None:
        return self.covered.file.job.partition if self.covered.file else None

    @cached_property
    def counts(self) -> Counter[CellState]:
        return Counter(cell.state for cell in self.cells)

    @property
    def versions(self) -> list[tuple[str, int]]:
        """The model versions that scored what is published, with the numbers of their colours."""
        found = {c.covered.model_version: c.colour for c in self.cells if c.covered.model_version}
        return [(v, n) for v, n in sorted(found.items(), key=_by_colour) if n is not None]

    @property
    def latest(self) -> Cell | None:
        """The last partition that is published."""
        return next((c for c in reversed(self.cells) if c.covered.published), None)

    @property
    def concerns(self) -> list[tuple[CellState, list[Cell]]]:
        """What somebody has to look at, the worst first."""
        of = {state: [c for c in self.cells if c.state == state] for state in ATTENTION}
        return [(state, cells) for state, cells in of.items() if cells]

    @property
    def needs_attention(self) -> bool:
        return self.covered.problem is not None or any(self.counts[s] for s in ATTENTION)

    @property
    def rank(self) -> tuple[int, str]:
        """Sorts jobs by what is worst about them, then by name."""
        if self.covered.problem is not None:
            return -1, self.name
        worst = (n for n, state in enumerate(ATTENTION) if self.counts[state])
        return next(worst, len(ATTENTION)), self.name


def _by_colour(item: tuple[str, int | None]) -> int:
    return item[1] or 0


def job_cells(jobs: Sequence[CoveredJob], now: datetime) -> list[JobCells]:
    """Return ``jobs`` as they look at the moment ``now``, with what Airflow says of their runs."""
    under_way = runs_of([job.name for job in jobs], UNDER_WAY)
    incomplete = [j.name for j in jobs if any(c.state != "published" for c in j.partitions)]
    runs = under_way | (runs_of(incomplete) if incomplete else {})
    return [_of_job(job, runs.get(job.name, []), now) for job in jobs]


def _of_job(of: CoveredJob, runs: Sequence[Any], now: datetime) -> JobCells:
    if of.file is None:
        return JobCells(of, ())
    job = of.file.job
    last, not_due, colours = last_runs(runs, job), _not_due(of, job, now), _colours(of)
    at, cells = urls.job(of.name), []
    for number, covered in enumerate(of.partitions):
        run, due = last.get(covered.partition.key), not_due.get(covered.partition.key)
        cells.append(
            Cell(
                of.name,
                f"{at}/{quote(covered.partition.key, safe='')}",
                covered,
                _state(covered, run, due),
                number,
                colours.get(covered.model_version or ""),
                run if run and run.state != "success" else None,
                due,
            )
        )
    return JobCells(of, tuple(cells))


def _not_due(of: CoveredJob, job: Job, now: datetime) -> dict[str, datetime]:
    """Return when the runs are due that are not yet, by the keys of their partitions."""
    found: dict[str, datetime] = {}
    for covered in reversed(of.partitions):
        due = due_at(job.schedule, covered.partition)
        if due.timestamp() <= now.timestamp():
            break
        found[covered.partition.key] = due
    return found


def _state(covered: Covered, run: PartitionRun | None, due: datetime | None) -> CellState:
    if covered.state not in ("missing", "failed"):
        return covered.state
    if run and run.state == "running":
        return "running"
    if run and run.state == "queued":
        return "queued"
    if run and run.state == "failed":
        return "failed"
    return "waiting" if due else covered.state


def _colours(of: CoveredJob) -> dict[str, int]:
    """Return the number of each version's colour: by the order of the job file, so that it stays."""
    model = of.file.job.model if of.file else None
    named = [version.version for version in model.versions] if model else []
    others = {c.model_version for c in of.partitions if c.model_version} - set(named)
    return {v: n % VERSION_COLOURS for n, v in enumerate([*named, *sorted(others)])}
