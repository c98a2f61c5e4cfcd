"""The model versions of a job side by side, and which job files made its partitions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.monitoring.judgement import DriftSummary
from scoring.monitoring.plan import Stretch, stretches
from scoring.monitoring.timeline import Point


@dataclass(frozen=True)
class InForce:
    """From which to which partition a version is in force by the policy of the job, both included.

    ``last`` is None where no later version is known, ``first`` where it never is in force.
    """

    first: Partition | None
    last: Partition | None


@dataclass(frozen=True)
class VersionFigures:
    """The published partitions of a model version, ``points``, and figures over all of their rows.

    Means over rows are exact, as those of the partitions are weighted by their rows. Medians are not
    means: ``medians`` are the lowest and the highest of the partitions.
    """

    version: str
    points: tuple[Point, ...]
    rows: int
    mean: float | None
    medians: tuple[float, float] | None
    quarantined_fraction: float
    drift: DriftSummary | None
    evaluated: int
    with_actual: int
    errors: dict[str, float]


@dataclass(frozen=True)
class JobFileUse:
    """The partitions that one state of the job file has made, by the digest of its bytes."""

    sha256: str
    partitions: tuple[Stretch, ...]
    count: int
    versions: tuple[str, ...]
    first: Point


def in_force(job: Job, version: str) -> InForce:
    """Return from when to when ``version`` is in force; ModelError where the job has none."""
    assert job.model is not None
    if job.model.policy == "current":
        newest = job.version_for(job.first_partition).version == version
        return InForce(job.first_partition if newest else None, None)
    of_version = job.version_for(job.first_partition, version)
    if of_version.in_force_from is None:
        return InForce(None, None)
    begins = job.parse(of_version.in_force_from)
    later = next((start for start, _ in job.history if begins < start), None)
    return InForce(begins, later.previous() if later else None)


def by_version(points: Iterable[Point], prediction: str) -> dict[str, VersionFigures]:
    """Return the figures of each version that has published partitions, by its name, in the order of
    the first of them. ``prediction`` is the output column that the figures of predictions are of.
    """
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.figures:
            found.setdefault(point.figures.model_version, []).append(point)
    return {version: _figures(version, of, prediction) for version, of in found.items()}


def job_files(points: Iterable[Point]) -> list[JobFileUse]:
    """Return which state of the job file made which partitions, in the order of the first of them."""
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.figures:
            found.setdefault(point.figures.job_sha256, []).append(point)
    return [
        JobFileUse(
            sha256,
            tuple(stretches(point.partition for point in of)),
            len(of),
            tuple(dict.fromkeys(p.figures.model_version for p in of if p.figures)),
            of[0],
        )
        for sha256, of in found.items()
    ]


def _figures(version: str, points: Sequence[Point], prediction: str) -> VersionFigures:
    published = [point.figures for point in points if point.figures]
    outputs = [one.outputs[prediction] for one in published if prediction in one.outputs]
    medians = [one.median for one in outputs if one.median is not None]
    wanted = sum(one.rows_in - one.left_out for one in published)
    quarantined = sum(one.quarantined for one in published)
    evaluations = [p.evaluation for p in points if p.is_evaluated and p.evaluation]
    drifts = [one.drift for one in published if one.drift]
    return VersionFigures(
        version=version,
        points=tuple(points),
        rows=sum(one.scored for one in published),
        mean=_mean([(one.mean, one.count) for one in outputs]),
        medians=(min(medians), max(medians)) if medians else None,
        quarantined_fraction=quarantined / wanted if wanted else 0.0,
        drift=max(drifts, key=_beyond_warning) if drifts else None,
        evaluated=len(evaluations),
        with_actual=sum(one.with_actual for one in evaluations),
        errors=_errors([(one.figures, one.with_actual) for one in evaluations]),
    )


def _beyond_warning(drift: DriftSummary) -> float:
    return drift.worst_psi / (drift.psi_warns or 1.0)


MEANS = ("mae", "bias", "accuracy", "log_loss")
"""Figures that are means over rows. RMSE is the root of one; R² and AUC cannot be combined so."""


def _errors(found: Sequence[tuple[dict[str, float | None], int]]) -> dict[str, float]:
    """Return the figures over the rows of several evaluations, as far as those of each say them."""
    errors = {}
    for name in MEANS:
        mean = _mean(_named(name, found))
        if mean is not None:
            errors[name] = mean
    squares = [(rmse and rmse**2, rows) for rmse, rows in _named("rmse", found)]
    mean_square = _mean(squares)
    return errors if mean_square is None else {"rmse": math.sqrt(mean_square)} | errors


def _named(
    name: str, found: Sequence[tuple[dict[str, float | None], int]]
) -> list[tuple[float | None, int]]:
    return [(figures.get(name), rows) for figures, rows in found]


def _mean(values: Sequence[tuple[float | None, int]]) -> float | None:
    """Return the mean of values, each weighted by its rows; None unless all with rows are known."""
    known = [(value, rows) for value, rows in values if rows]
    total = sum(rows for _, rows in known)
    if not total or any(value is None for value, _ in known):
        return None
    return sum(value * rows for value, rows in known if value is not None) / total
