"""The few figures of a published partition that a look over time needs, of its manifest and of its
evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from scoring.destinations.manifest import Manifest
from scoring.monitoring.evaluation import Evaluation
from scoring.monitoring.judgement import DriftSummary, drift_summary

CLASSES_KEPT = 12
"""How many classes have a count of their own; the others are counted together."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class OutputFigures(_Record):
    """What one output column looks like: numbers by mean and quantiles, classes by their counts.

    ``low`` and ``high`` are the quantiles 0.05 and 0.95. They and ``median`` are values of the
    manifest's buckets, which are 2 to the power of ``-bits`` of their value wide.
    """

    count: int
    mean: float | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    bits: int | None = None
    classes: dict[str, int] = {}

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> OutputFigures:
        quantiles = figures.get("quantiles", {})
        return cls(
            count=figures["count"],
            mean=figures.get("mean"),
            low=quantiles.get("0.05"),
            median=quantiles.get("0.5"),
            high=quantiles.get("0.95"),
            bits=figures.get("buckets", {}).get("bits"),
            classes=dict(list(figures.get("classes", {}).items())[:CLASSES_KEPT]),
        )

    @property
    def other_classes(self) -> int:
        """The rows of classes that have no count of their own."""
        return self.count - sum(self.classes.values()) if self.classes else 0

    @property
    def bucket_width(self) -> float | None:
        """How wide a bucket is at most, as a share of the values in it."""
        return None if self.bits is None else 2.0**-self.bits


class PartitionFigures(_Record):
    """The figures of a manifest; ``quarantined_limit`` is the one that it was published under.

    ``outputs`` are by column name, ``drift`` is from the main reference. ``output_sha256`` is the
    digest of the predictions, ``publisher`` says in words who published them.
    """

    job: str
    job_sha256: str
    partition: str
    model_version: str
    model_sha256: str
    output_sha256: str
    publisher: str
    rows_in: int
    scored: int
    quarantined: int
    left_out: int
    reasons: dict[str, int]
    left_out_reasons: dict[str, int]
    quarantined_limit: float | None
    outputs: dict[str, OutputFigures]
    drift: DriftSummary | None

    @classmethod
    def of(cls, manifest: Manifest) -> PartitionFigures:
        limits = {verdict.gate: verdict.limit for verdict in manifest.gates}
        return cls(
            job=manifest.job,
            job_sha256=manifest.job_sha256,
            partition=manifest.partition,
            model_version=manifest.model.version,
            model_sha256=manifest.model.sha256,
            output_sha256=manifest.output.sha256,
            publisher=manifest.publisher,
            rows_in=manifest.rows.rows_in,
            scored=manifest.rows.scored,
            quarantined=manifest.rows.quarantined,
            left_out=manifest.rows.left_out,
            reasons=manifest.rows.reasons,
            left_out_reasons=manifest.rows.left_out_reasons,
            quarantined_limit=limits.get("max_quarantined_fraction"),
            outputs={name: OutputFigures.of(of) for name, of in manifest.statistics.items()},
            drift=drift_summary(manifest),
        )

    @property
    def quarantined_fraction(self) -> float:
        """The fraction that ``checks.max_quarantined_fraction`` limits."""
        wanted = self.rows_in - self.left_out
        return self.quarantined / wanted if wanted else 0.0


class EvaluationFigures(_Record):
    """The figures of an evaluation by name, over the rows that had an actual."""

    job: str
    partition: str
    model_version: str
    predictions_sha256: str
    published: int
    with_actual: int
    figures: dict[str, float | None]

    @classmethod
    def of(cls, evaluation: Evaluation) -> EvaluationFigures:
        return cls(
            job=evaluation.job,
            partition=evaluation.partition,
            model_version=evaluation.model_version,
            predictions_sha256=evaluation.predictions_sha256,
            published=evaluation.rows.published,
            with_actual=evaluation.rows.with_actual,
            figures=evaluation.figures,
        )
