"""The JSON API: the same facts as the pages, in the shape that its OpenAPI document says."""

from __future__ import annotations

from fastapi.testclient import TestClient

from tests.plugins.web.conftest import Stored


def test_jobs_and_their_partitions(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    run_id = job.run("2013-03", "failed")
    every = viewer.get("/scoring/api/v1/coverage").json()
    (of_job,) = (found for found in every["jobs"] if found["job"] == job.name)
    assert (of_job["states"], of_job["needs_attention"], of_job["problem"]) == (
        {"published": 1, "failed": 1, "missing": 1},
        True,
        None,
    )
    assert of_job in viewer.get("/scoring/api/v1/jobs").json()["jobs"]
    one = viewer.get(f"/scoring/api/v1/jobs/{job.name}").json()
    assert one == of_job | {"partitions": [p for p in every["partitions"] if p["job"] == job.name]}
    first, second, _ = one["partitions"]
    assert first == {
        "job": job.name,
        "partition": "2013-02",
        "state": "published",
        "model_version": "v1",
        "rows": 2450,
        "quarantined": 50,
        "warnings": 0,
        "reasons": [],
        "not_compared": [],
        "run_id": None,
    }
    assert (second["state"], second["run_id"], second["rows"]) == ("failed", run_id, None)


def test_the_manifest_of_a_partition(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    address = f"/scoring/api/v1/jobs/{job.name}/partitions/"
    manifest = viewer.get(address + "2013-02").json()
    assert (manifest["job"], manifest["model"]["version"]) == (job.name, "v1")
    assert manifest["rows"]["in"] == 2500
    assert viewer.get(address + "2013-03").status_code == 404
    answer = viewer.get(address + "2013-3")
    assert answer.status_code == 404
    assert "a month looks like 2013-05" in answer.json()["detail"]


def test_openapi_has_the_api_and_no_page(viewer: TestClient) -> None:
    document = viewer.get("/scoring/api/v1/openapi.json").json()
    assert set(document["paths"]) == {
        "/api/v1/coverage",
        "/api/v1/jobs",
        "/api/v1/jobs/{job}",
        "/api/v1/jobs/{job}/timeline",
        "/api/v1/jobs/{job}/partitions/{key}",
    }
    answer = document["paths"]["/api/v1/jobs"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/JobsAnswer"
    }
