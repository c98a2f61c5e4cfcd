"""Batch scoring of a partition at a time: a DataFrame in, a DataFrame out, saved as parquet.

The library is pure: it imports no Airflow, reads no clock and knows no "latest".  What is here is
its public API, loaded when it is used, because Airflow parses Dag files often::

    from scoring import PartitionContext, load_job, score_partition

docs/architecture.md says what is in which package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from scoring.destinations.predictions import load_predictions
    from scoring.engine import Predictions, score_table
    from scoring.errors import (
        ContractError,
        DestinationTakenError,
        HeldError,
        JobError,
        MissingPackageError,
        ModelError,
        NewerPublicationError,
        PartitionError,
        PublicationError,
        ResourceError,
        ScorerError,
        ScoringError,
        SourceError,
        SourceMissingError,
        VerifyError,
    )
    from scoring.job.loader import JobFile, load_job
    from scoring.monitoring.distribution import training_profile
    from scoring.pipeline.context import PartitionContext
    from scoring.pipeline.local import score_partition
    from scoring.pipeline.verify import verify_partition
    from scoring.storage.connections import Connections

_WHERE = {
    "Connections": "scoring.storage.connections",
    "ContractError": "scoring.errors",
    "DestinationTakenError": "scoring.errors",
    "HeldError": "scoring.errors",
    "JobError": "scoring.errors",
    "JobFile": "scoring.job.loader",
    "MissingPackageError": "scoring.errors",
    "ModelError": "scoring.errors",
    "NewerPublicationError": "scoring.errors",
    "PartitionContext": "scoring.pipeline.context",
    "PartitionError": "scoring.errors",
    "Predictions": "scoring.engine",
    "PublicationError": "scoring.errors",
    "ResourceError": "scoring.errors",
    "ScorerError": "scoring.errors",
    "ScoringError": "scoring.errors",
    "SourceError": "scoring.errors",
    "SourceMissingError": "scoring.errors",
    "VerifyError": "scoring.errors",
    "load_job": "scoring.job.loader",
    "load_predictions": "scoring.destinations.predictions",
    "score_partition": "scoring.pipeline.local",
    "score_table": "scoring.engine",
    "training_profile": "scoring.monitoring.distribution",
    "verify_partition": "scoring.pipeline.verify",
}

__all__ = [
    "Connections",
    "ContractError",
    "DestinationTakenError",
    "HeldError",
    "JobError",
    "JobFile",
    "MissingPackageError",
    "ModelError",
    "NewerPublicationError",
    "PartitionContext",
    "PartitionError",
    "Predictions",
    "PublicationError",
    "ResourceError",
    "ScorerError",
    "ScoringError",
    "SourceError",
    "SourceMissingError",
    "VerifyError",
    "load_job",
    "load_predictions",
    "score_partition",
    "score_table",
    "training_profile",
    "verify_partition",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'scoring' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
