"""The pages as JSON, for programs: the same facts, under the same rights."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from scoring.destinations.manifest import Manifest
from scoring.monitoring.figures import EvaluationFigures, OutputFigures
from scoring.monitoring.judgement import DriftSummary
from scoring.monitoring.stale import ReasonCode
from scoring.monitoring.timeline import Point
from scoring_airflow.stored_dags import StoredJob
from scoring_airflow.web.cells import Cell, CellState, JobCells, job_cells
from scoring_airflow.web.clock import Now
from scoring_airflow.web.history import history
from scoring_airflow.web.jobs import covered_jobs, partition_context, published
from scoring_airflow.web.security import ReadableJob, ReadableJobs

router = APIRouter(prefix="/api/v1")


class ReasonRecord(BaseModel):
    """Why a partition is stale or missing."""

    code: ReasonCode
    detail: str


class PartitionRecord(BaseModel):
    """The state of one partition; ``rows`` are those that are published."""

    job: str
    partition: str
    state: CellState
    model_version: str | None
    rows: int | None
    quarantined: int | None
    warnings: int | None
    reasons: list[ReasonRecord]
    not_compared: list[str]
    run_id: str | None

    @classmethod
    def of(cls, cell: Cell) -> PartitionRecord:
        published = cell.covered.published
        return cls(
            job=cell.job,
            partition=cell.key,
            state=cell.state,
            model_version=cell.covered.model_version,
            rows=published.rows_scored if published else None,
            quarantined=published.rows_quarantined if published else None,
            warnings=published.warnings if published else None,
            reasons=[ReasonRecord(code=r.code, detail=r.detail) for r in cell.covered.reasons],
            not_compared=list(cell.covered.unchecked),
            run_id=cell.run.run_id if cell.run else None,
        )


class JobRecord(BaseModel):
    """A job, and how many of its partitions are in which state; ``problem``: why that is not known."""

    job: str
    description: str
    owner: str
    tags: list[str]
    paused: bool
    partition: Literal["month", "week", "day", "hour"] | None
    needs_attention: bool
    problem: str | None
    states: dict[CellState, int]

    @classmethod
    def of(cls, job: JobCells) -> JobRecord:
        config = job.covered.file.job if job.covered.file else None
        return cls(
            job=job.name,
            description=config.description if config else "",
            owner=config.owner if config else "",
            tags=list(job.covered.stored.tags),
            paused=job.covered.stored.is_paused,
            partition=job.kind,
            needs_attention=job.needs_attention,
            problem=job.covered.problem,
            states=dict(job.counts),
        )


class JobsAnswer(BaseModel):
    jobs: list[JobRecord]


class JobAnswer(JobRecord):
    partitions: list[PartitionRecord]


class EvaluationRecord(BaseModel):
    """``of_what_is_published`` is false for the evaluation of an earlier publication."""

    model_version: str
    of_what_is_published: bool
    rows_with_actual: int
    figures: dict[str, float | None]


class DriftRecord(BaseModel):
    """The column that has moved most from the main reference."""

    reference: str
    column: str
    psi: float
    psi_warns: float | None
    columns_moved: int


class PointRecord(BaseModel):
    """The figures of a partition; all but its key are null where nothing is published."""

    partition: str
    model_version: str | None = None
    rows_in: int | None = None
    rows: int | None = None
    quarantined: int | None = None
    left_out: int | None = None
    reasons: dict[str, int] | None = None
    quarantined_fraction: float | None = None
    quarantined_limit: float | None = None
    prediction: OutputFigures | None = None
    drift: DriftRecord | None = None
    evaluation: EvaluationRecord | None = None

    @classmethod
    def of(cls, point: Point, prediction: str) -> PointRecord:
        of = point.figures
        if of is None:
            return cls(partition=point.key)
        return cls(
            partition=point.key,
            model_version=of.model_version,
            rows_in=of.rows_in,
            rows=of.scored,
            quarantined=of.quarantined,
            left_out=of.left_out,
            reasons=of.reasons | of.left_out_reasons,
            quarantined_fraction=of.quarantined_fraction,
            quarantined_limit=of.quarantined_limit,
            prediction=of.outputs.get(prediction),
            drift=_drift(of.drift) if of.drift else None,
            evaluation=_evaluation(point, point.evaluation) if point.evaluation else None,
        )


def _drift(of: DriftSummary) -> DriftRecord:
    return DriftRecord(
        reference=of.reference,
        column=of.worst_column,
        psi=of.worst_psi,
        psi_warns=of.psi_warns,
        columns_moved=of.columns_moved,
    )


def _evaluation(point: Point, of: EvaluationFigures) -> EvaluationRecord:
    return EvaluationRecord(
        model_version=of.model_version,
        of_what_is_published=point.is_evaluated,
        rows_with_actual=of.with_actual,
        figures=of.figures,
    )


class TimelineAnswer(BaseModel):
    """``prediction`` is the column that the figures of predictions are of."""

    job: str
    prediction: str
    points: list[PointRecord]


class CoverageAnswer(BaseModel):
    """Every partition of every job that the user may read, and the jobs that cannot be read."""

    needs_attention: int
    jobs: list[JobRecord]
    partitions: list[PartitionRecord]


@router.get("/coverage", summary="Every partition of every job")
def coverage(jobs: ReadableJobs, now: Now) -> CoverageAnswer:
    found = _cells(jobs, now)
    return CoverageAnswer(
        needs_attention=sum(job.needs_attention for job in found),
        jobs=[JobRecord.of(job) for job in found],
        partitions=[PartitionRecord.of(cell) for job in found for cell in job.cells],
    )


@router.get("/jobs", summary="All jobs")
def jobs(jobs: ReadableJobs, now: Now) -> JobsAnswer:
    return JobsAnswer(jobs=[JobRecord.of(job) for job in _cells(jobs, now)])


@router.get("/jobs/{job}", summary="One job and its partitions")
def job(job: ReadableJob, now: Now) -> JobAnswer:
    (found,) = _cells([job], now)
    partitions = [PartitionRecord.of(cell) for cell in found.cells]
    return JobAnswer(**JobRecord.of(found).model_dump(), partitions=partitions)


@router.get("/jobs/{job}/timeline", summary="The figures of a job over time")
def timeline(job: ReadableJob, now: Now) -> TimelineAnswer:
    (found,) = covered_jobs([job], now)
    over_time = history(found)
    problem = found.problem if found.problem is not None else over_time.problem
    if problem is not None or found.file is None:
        raise HTTPException(503, problem)
    prediction = found.file.job.output.prediction
    points = [PointRecord.of(point, prediction) for point in over_time.points]
    return TimelineAnswer(job=job.dag_id, prediction=prediction, points=points)


@router.get("/jobs/{job}/partitions/{key}", summary="The manifest of a published partition")
def manifest(job: ReadableJob, key: str) -> Manifest:
    found = published(partition_context(job, key), f"{job.dag_id} {key}")
    if found is None:
        raise HTTPException(404, f"Nothing is published of {job.dag_id} {key}.")
    return found


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    schema: dict[str, Any] = request.app.openapi()
    return JSONResponse(schema)


def _cells(jobs: list[StoredJob], now: Now) -> list[JobCells]:
    return job_cells(covered_jobs(jobs, now), now)
