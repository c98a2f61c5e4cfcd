"""The digest of what a job file means: of all that can change the predictions of a partition.

Comments, formatting, and who is notified of what do not count. What is not named here does, so that
a field of a later release counts until somebody has decided that it need not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from scoring.job.model import ArtifactConfig, ModelConfig, ModelVersionConfig
from scoring.job.schema import Job
from scoring.job.section import Section

WITHOUT_EFFECT = frozenset(
    {
        *("name", "description", "owner", "tags", "alerts", "actuals"),
        *("schedule", "start", "end", "run"),  # which partitions are scored, when and where
        *("checks", "destination"),  # whether and where the same predictions are published
        "challengers",  # are never published
        "model",  # the version that scored counts, and that alone: see _meaning_of_model
        "scorer",  # the manifest has the digest of its code
    }
)
"""The fields of a job that cannot change the predictions of a partition."""

SOURCE_WITHOUT_EFFECT = frozenset({"wait", "sha256"})


def meaning_sha256(job: Job, version: str, inputs_of_model: bool = False) -> str:
    """Return the digest of what ``job`` means for a partition that the model ``version`` scores.

    Fields that have their default do not count, so that a new field changes no digest. The order of
    columns and of conditions does. With ``inputs_of_model``, the inputs of ``job`` are the signature
    of its model, and not what its file says. Raises ModelError if it has no such version.
    """
    fields = _given(job, WITHOUT_EFFECT | ({"inputs"} if inputs_of_model else set()))
    fields["source"] = _given(job.source, SOURCE_WITHOUT_EFFECT)
    if job.model is not None:
        config = job.version_for(job.first_partition, version)
        fields["model"] = _meaning_of_model(job.model, config)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _meaning_of_model(model: ModelConfig, version: ModelVersionConfig) -> dict[str, Any]:
    """Return what counts besides the model file, whose digest the manifest has."""
    files = model.files | version.files
    return {
        "input": model.input,
        "files": {name: _meaning_of_artifact(config) for name, config in files.items()},
        "environment": _canonical(version.environment),
    }


def _meaning_of_artifact(artifact: ArtifactConfig) -> list[str | None]:
    return [artifact.sha256 or artifact.uri, artifact.format]


def _given(section: Section, but: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the fields that differ from their defaults."""
    return {
        name: _canonical(getattr(section, name))
        for name, field in type(section).model_fields.items()
        if name not in but and getattr(section, name) != field.get_default()
    }


def _canonical(value: Any) -> Any:
    """Return ``value`` as JSON in which the order of a section's fields does not count, and that of
    a mapping's keys does.
    """
    if isinstance(value, Section):
        return _given(value)
    if isinstance(value, Mapping):
        return [[str(key), _canonical(of)] for key, of in value.items()]
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
