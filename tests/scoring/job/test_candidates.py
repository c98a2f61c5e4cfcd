"""Candidates and challengers in a job file: which version is in force, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scoring.errors import JobError, ModelError
from scoring.job.json_schema import job_schema
from scoring.job.loader import JobFile, load_job
from scoring.job.meaning import meaning_sha256
from tests.scoring.factories import JOB
from tests.small_job import merged

V1 = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}
V2 = {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-07"}
V3 = {"version": "v3", "uri": "{models}/v3.skops", "candidate": True}


def loaded(folder: Path, *versions: dict[str, Any], **changes: Any) -> JobFile:
    model = {"versions": list(versions), "policy": changes.pop("policy", "as_of")}
    path = folder / "sample.yaml"
    path.write_text(yaml.safe_dump(merged(JOB, {"model": model, **changes}), sort_keys=False))
    return load_job(path)


@pytest.mark.parametrize("policy", ["as_of", "current"])
def test_a_candidate_is_in_force_nowhere_and_can_be_pinned(tmp_path: Path, policy: str):
    job = loaded(tmp_path, V3, V1, V2, policy=policy).job
    in_force = {key: job.version_for(job.parse(key)).version for key in ("2013-02", "2013-07")}
    assert (
        in_force
        == {
            "as_of": {"2013-02": "v1", "2013-07": "v2"},
            "current": {"2013-02": "v2", "2013-07": "v2"},
        }[policy]
    )
    assert job.version_for(job.parse("2013-02"), "v3").version == "v3"


def test_before_the_first_version_no_candidate_steps_in(tmp_path: Path):
    job = loaded(tmp_path, V2, V3).job
    with pytest.raises(ModelError, match="the first, v2, is in force from 2013-07"):
        job.version_for(job.parse("2013-02"))


@pytest.mark.parametrize(
    ("versions", "changes", "place", "says"),
    [
        (
            [V1, V3 | {"in_force_from": "2013-07"}],
            {},
            "versions[2].in_force_from",
            "not for a cand",
        ),
        (
            [{"version": "v1", "uri": "v1.skops"}],
            {},
            "versions[1].in_force_from",
            "missing; this key",
        ),
        (
            [V1 | {"candidate": False}, {"version": "v2", "uri": "b.skops"}],
            {},
            "versions[2]",
            "missing",
        ),
        ([V3], {}, "model.versions", "has candidates only"),
        (
            [V1],
            {"challengers": ["v9"]},
            "challengers[1]",
            "'v9' is not a version of the model (v1)",
        ),
        ([V1, V3], {"challengers": ["v3", "v3"]}, "challengers[2]", "listed twice"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path, versions: list[Any], changes: dict[str, Any], place: str, says: str
):
    with pytest.raises(JobError) as error:
        loaded(tmp_path, *versions, **changes)
    assert place in str(error.value)
    assert says in str(error.value)
    assert "line " in str(error.value)


def test_the_schema_of_editors_knows_candidates():
    schema = job_schema(installed=False)

    def valid(*versions: dict[str, Any]) -> bool:
        job = merged(JOB, {"model": {"versions": list(versions)}})
        return jsonschema.Draft202012Validator(schema).is_valid(job)

    assert valid(V1, V3)
    assert not valid(V1, V3 | {"in_force_from": "2013-07"})
    assert not valid({"version": "v1", "uri": "{models}/v1.skops"})


def test_candidates_and_challengers_do_not_change_what_a_job_means(tmp_path: Path):
    alone = loaded(tmp_path, V1, V2).job
    more = loaded(tmp_path, V1, V2, V3, challengers=["v3"]).job
    assert meaning_sha256(more, "v1") == meaning_sha256(alone, "v1")
