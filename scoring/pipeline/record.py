"""The manifest of a partition, from what its steps have handed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoring.destinations.manifest import (
    ChallengerRecord,
    Manifest,
    ModelRecord,
    ObjectRecord,
    RowsRecord,
    code_version,
    package_versions,
)
from scoring.job.meaning import meaning_sha256
from scoring.models.base import ModelFile
from scoring.pipeline.joined import JoinedShards


def manifest_of(
    joined: JoinedShards,
    output: ObjectRecord,
    beside: tuple[ObjectRecord | None, ObjectRecord | None],
    challengers: list[ChallengerRecord],
    triggered_by: Mapping[str, str],
    seconds: float,
) -> Manifest:
    """Return the manifest of ``joined``, whose predictions are ``output``.

    ``beside`` are the files of quarantined and of left-out rows, ``seconds`` the work of the last step.
    """
    context, extraction, tally = joined.context, joined.extraction, joined.tally
    difference = joined.changes.difference
    rows: dict[str, Any] = {
        "in": tally.rows_in,
        "scored": joined.rows,
        "quarantined": tally.rows_quarantined,
        "left_out": tally.rows_left_out,
        "reasons": tally.quarantined,
        "left_out_reasons": tally.left_out,
    }
    model = extraction.model.model_dump() | {
        "runtime_versions": joined.runtime_versions,
        "environment": joined.environment or {},
        "trees": joined.trees,
        "inputs": _inputs_of_signature(extraction.model),
    }
    return Manifest(
        job=context.job.name,
        job_sha256=context.job_file.sha256,
        job_meaning_sha256=meaning_sha256(
            context.job,
            extraction.model.version,
            inputs_of_model=extraction.model.inputs is not None,
        ),
        partition=context.partition.key,
        interval_start=context.partition.start.isoformat(),
        interval_end=context.partition.end.isoformat(),
        model=ModelRecord(**model),
        scorer_sha256=extraction.scorer_sha256,
        source=extraction.source,
        source_types=extraction.source_types,
        rows=RowsRecord(**rows),
        output=output,
        columns=joined.columns,
        quarantine=beside[0],
        left_out=beside[1],
        gates=joined.verdicts,
        warnings=joined.warnings,
        inputs={name: counts.model_dump() for name, counts in extraction.inputs.items()},
        statistics={name: s.result() for name, s in joined.statistics.items()},
        drift=[one.model_dump(mode="json") for one in joined.drift],
        difference=difference.model_dump(mode="json") if difference else None,
        challengers=challengers,
        run=dict(triggered_by),
        code_version=code_version(),
        packages=package_versions(),
        durations_seconds=joined.seconds | {"upload": seconds},
    )


def _inputs_of_signature(model: ModelFile) -> dict[str, dict[str, Any]] | None:
    if model.inputs is None:
        return None
    return {name: column.model_dump(exclude_defaults=True) for name, column in model.inputs.items()}
