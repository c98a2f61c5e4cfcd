"""The digest of what a job means: what counts, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from scoring.errors import ModelError
from scoring.job.meaning import WITHOUT_EFFECT, meaning_sha256
from scoring.job.schema import Job
from tests.scoring.factories import JOB, Place

V1 = JOB["model"]["versions"][0]


def meaning(place: Place, **changes: Any) -> str:
    return meaning_sha256(place.job(**changes).job, "v1")


def test_each_field_of_a_job_counts_or_has_been_decided_upon():
    """A new field counts; name it in ``WITHOUT_EFFECT`` where it cannot change predictions."""
    assert Job.model_fields.keys() >= WITHOUT_EFFECT
    assert Job.model_fields.keys() - WITHOUT_EFFECT == {
        *("timezone", "partition", "source", "leave_out", "row_id", "inputs", "output"),
    }


def test_a_version_that_is_added_or_promoted_does_not_count(place: Place):
    later = {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-09"}
    moved = V1 | {"in_force_from": "2013-01", "uri": "{models}/elsewhere/v1.skops"}
    assert meaning(place, model={"versions": [moved, later]}) == meaning(place)


def test_the_order_of_inputs_counts(place: Place):
    job = place.job(inputs={"x": {"type": "float64"}, "z": {"type": "float64"}}).job
    reordered = job.model_copy(update={"inputs": dict(reversed(job.inputs.items()))})
    assert reordered == job
    assert meaning_sha256(job, "v1") != meaning_sha256(reordered, "v1")


def test_the_environment_of_the_version_counts(place: Place):
    environment = {"python": "3.9", "requirements": ["scikit-learn==1.0.2"]}
    digest = "0" * 64
    versions = [V1 | {"environment": environment, "sha256": digest}]
    assert meaning(place, model={"versions": versions}) != meaning(place)


def test_the_signature_of_a_model_is_not_what_the_job_says(place: Place):
    job = place.job().job
    without = job.model_copy(update={"inputs": {}})
    of_model = meaning_sha256(job, "v1", inputs_of_model=True)
    assert of_model == meaning_sha256(without, "v1")
    assert of_model != meaning_sha256(job, "v1")


def test_a_version_that_the_job_does_not_have(place: Place):
    with pytest.raises(ModelError, match="has no model version 'v9'"):
        meaning_sha256(place.job().job, "v9")
