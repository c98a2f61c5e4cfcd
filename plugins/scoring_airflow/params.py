"""What the trigger form of a job's Dag asks for: the partition, and the model version."""

from __future__ import annotations

import re

from airflow.sdk import Param

from scoring.job.model import ModelVersionConfig
from scoring.job.partitions import PATTERNS, Kind
from scoring.job.schema import Job


def partition_param(job: Job) -> Param:
    """Return the parameter that overrides the run's dates; the job's own range is checked later."""
    kind = job.partition
    until = f"from {job.start} to {job.end}" if job.end else f"{job.start} or later"
    return _partition(
        kind,
        f"Score this {kind}, {until}. Empty: the last {kind} that had ended at the logical date.",
    )


def evaluated_partition_param(job: Job) -> Param:
    """Return the parameter that names the one partition to evaluate."""
    return _partition(
        job.partition,
        f"Evaluate this {job.partition}. Empty: all that have actuals which were not compared yet.",
    )


def _partition(kind: Kind, description: str) -> Param:
    return Param(
        None,
        type=["null", "string"],
        pattern=f"^(|{PATTERNS[kind]})$",
        title=kind.capitalize(),
        description=description,
    )


def model_version_param(job: Job) -> Param:
    """Return the parameter that pins a model version.

    A list to select from; where a version may mean several registered ones, a text with proposals,
    which also takes a number such as ``champion.3``.
    """
    versions = job.model.versions if job.model else []
    schema = (
        {"pattern": f"^(|{'|'.join(map(_pattern, versions))})$", "examples": job.version_names}
        if any(_moves(version) for version in versions)
        else {"enum": [None, *job.version_names], "values_display": {"null": "by policy"}}
    )
    return Param(
        None,
        type=["null", "string"],
        title="Model version",
        description="Score with this version; empty: the version that the job's policy says.",
        **schema,
    )


def _moves(version: ModelVersionConfig) -> bool:
    return version.registered is not None and version.registered.moves


def _pattern(version: ModelVersionConfig) -> str:
    number = r"(\.[1-9][0-9]*)?" if _moves(version) else ""
    return re.escape(version.version) + number
