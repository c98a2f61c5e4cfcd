"""The first page: all jobs, with a cell for each partition, and whether all of it is well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Response

from scoring.job.partitions import Kind
from scoring_airflow.stored_dags import StoredJob
from scoring_airflow.web import urls
from scoring_airflow.web.cells import (
    ATTENTION,
    MEANINGS,
    SYMBOLS,
    Cell,
    CellState,
    JobCells,
    job_cells,
)
from scoring_airflow.web.clock import Now
from scoring_airflow.web.jobs import covered_jobs
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableJobs, User, backfillable

router = APIRouter(include_in_schema=False)

GROUPS_SHOWN: dict[Kind, int] = {"month": 3, "week": 1, "day": 2, "hour": 2}
"""How many years, months or days a table shows, unless everything is asked for."""


@dataclass(frozen=True)
class Asked:
    """The filters of the page, as its address has them."""

    name: str = ""
    tag: str = ""
    state: str = ""
    show: str = ""

    def has_job(self, job: StoredJob) -> bool:
        return self.name.lower() in job.dag_id.lower() and (not self.tag or self.tag in job.tags)

    def has(self, job: JobCells) -> bool:
        if self.state == "attention":
            return job.needs_attention
        return not self.state or any(cell.state == self.state for cell in job.cells)

    @property
    def is_filter(self) -> bool:
        return bool(self.name or self.tag or self.state)

    def everything(self) -> str:
        """Return the address of the same page with all partitions."""
        return urls.page("/", name=self.name, tag=self.tag, state=self.state, show="all")


@dataclass(frozen=True)
class Table:
    """The jobs of one kind of partition, which share their columns.

    ``groups`` are the columns by their group, such as the months of a year. ``earlier`` is whether
    partitions before them are left out.
    """

    kind: Kind
    groups: list[tuple[str, list[str]]]
    jobs: list[JobCells]
    earlier: bool

    def row(self, job: JobCells) -> list[tuple[bool, list[Cell]]]:
        """Return the cells of each column, and whether a group begins there.

        There are two in a column for the hour that comes twice when DST ends.
        """
        of: dict[tuple[str, str], list[Cell]] = {}
        for cell in job.cells:
            of.setdefault(cell.place, []).append(cell)
        return [
            (not number, of.get((group, column), []))
            for group, columns in self.groups
            for number, column in enumerate(columns)
        ]

    def before(self, job: JobCells) -> list[tuple[CellState, int]]:
        """Return how many of the partitions that are left out are in which state, the worst first."""
        first = self.groups[0][0] if self.groups else ""
        counts = Counter(cell.state for cell in job.cells if cell.place[0] < first)
        return sorted(
            counts.items(), key=lambda found: list(MEANINGS).index(found[0]), reverse=True
        )


@dataclass(frozen=True)
class Summary:
    """Whether everything is well, in one sentence."""

    jobs: int
    concerned: int
    states: Counter[CellState]
    unknown: int

    @classmethod
    def of(cls, jobs: Sequence[JobCells]) -> Summary:
        states: Counter[CellState] = Counter()
        for job in jobs:
            states.update(job.counts)
        concerned = sum(job.needs_attention for job in jobs)
        return cls(len(jobs), concerned, states, sum(bool(j.covered.problem) for j in jobs))

    @property
    def parts(self) -> list[str]:
        """What needs attention, such as ``2 held`` and ``1 stale``."""
        found = [f"{self.states[s]:,} {s}" for s in ATTENTION if self.states[s]]
        if self.unknown:
            found.append(f"{self.unknown:,} that cannot be read")
        return found


@router.get("/")
def coverage(
    jobs: ReadableJobs,
    user: User,
    now: Now,
    name: Annotated[str, Query(max_length=100)] = "",
    tag: Annotated[str, Query(max_length=100)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    show: Annotated[str, Query(max_length=5)] = "",
) -> Response:
    asked = Asked(name.strip(), tag, state, show)
    every = job_cells(covered_jobs([job for job in jobs if asked.has_job(job)], now), now)
    shown = sorted((job for job in every if asked.has(job)), key=lambda job: job.rank)
    return html(
        "coverage.html",
        asked=asked,
        now=now,
        has_jobs=bool(jobs),
        tags=sorted({tag for job in jobs for tag in job.tags} - {"scoring"}),
        summary=Summary.of(every),
        concerned=[job for job in shown if job.needs_attention],
        tables=tables([job for job in shown if job.kind], show == "all"),
        unreadable=[job for job in shown if not job.kind],
        may_backfill=backfillable(user, [job.covered.stored for job in shown]),
        meanings=MEANINGS,
        symbols=SYMBOLS,
    )


def tables(jobs: Iterable[JobCells], everything: bool) -> list[Table]:
    """Return a table for each kind of partition; the latest groups, or all of them."""
    found = []
    for kind, shown in GROUPS_SHOWN.items():
        of_kind = [job for job in jobs if job.kind == kind]
        if not of_kind:
            continue
        places = sorted({cell.place for job in of_kind for cell in job.cells})
        groups: dict[str, list[str]] = {}
        for group, column in places:
            groups.setdefault(group, []).append(column)
        kept = list(groups.items()) if everything else list(groups.items())[-shown:]
        found.append(Table(kind, kept, of_kind, earlier=len(kept) < len(groups)))
    return found
