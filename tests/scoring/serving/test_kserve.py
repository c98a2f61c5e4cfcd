from __future__ import annotations

from typing import Any

import pytest

from tests.scoring.factories import Place
from tests.scoring.serving.conftest import Service, Start


@pytest.fixture(scope="module")
def service(shared_place: Place, start_for_all: Start) -> Service:
    shared_place.job(inputs={"x": {"type": "float64", "min": 0}}, output={"keep": ["note"]})
    return start_for_all(shared_place)


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> Any:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def infer(service: Service, *inputs: Any, path: str = "/v2/models/sample/infer") -> Any:
    return service.client.post(path, json={"id": "a1", "inputs": list(inputs)})


def test_tensors_are_answered_with_tensors_and_a_refused_row_has_no_number(service: Service):
    answer = infer(
        service,
        tensor("id", "INT64", [1, 2]),
        tensor("x", "FP64", [[1.5], [-1.0]], [2, 1]),
        tensor("note", "BYTES", ["a", "b"]),
    )
    assert answer.status_code == 200
    found = answer.json()
    outputs = {one["name"]: one for one in found["outputs"]}
    assert (found["model_name"], found["model_version"], found["id"]) == ("sample", "v1", "a1")
    assert outputs["y"] == tensor("y", "FP64", [pytest.approx(3.0), None])
    assert outputs["status"]["data"] == ["scored", "quarantined"]
    assert outputs["reason"]["data"] == [None, "below_min"]
    assert outputs["column"]["data"] == [None, "x"]
    assert outputs["value"]["data"] == [None, "-1"]
    same = service.predict({"id": 1, "x": 1.5, "note": "a"}).json()["rows"][0]["y"]
    assert outputs["y"]["data"][0] == same


@pytest.mark.parametrize(
    ("inputs", "detail"),
    [
        ([], "row 1"),
        ([tensor("id", "INT64", [1]), tensor("x", "FP64", [1.0])], "has no column 'note'"),
        (
            [tensor("id", "INT64", [1]), tensor("x", "FP64", [1.0, 2.0])],
            "different numbers of rows",
        ),
        ([tensor("x", "FP64", [1.0], [2, 3])], "has the shape [2, 3] and 1 values"),
        ([tensor("x", "FP64", [1.0]), tensor("x", "FP64", [1.0])], "two inputs have the name 'x'"),
        ([{"name": "x"}], "has no name, or its data are not a list"),
        (["x"], "no list of inputs"),
    ],
)
def test_tensors_that_cannot_be_rows_are_a_bad_request(service: Service, inputs: Any, detail: str):
    answer = infer(service, *inputs)
    if not inputs:
        assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, [])
        return
    assert (answer.status_code, detail in answer.json()["detail"]) == (400, True)


def test_the_model_is_described_and_versions_are_found(service: Service):
    assert service.client.get("/v2").json()["name"] == "batch-scoring"
    assert service.client.get("/v2/health/ready").json() == {"ready": True}
    assert service.client.get("/v2/health/live").json() == {"live": True}
    model = service.client.get("/v2/models/sample").json()
    assert [(one["name"], one["datatype"]) for one in model["inputs"]] == [
        ("id", "BYTES"),
        ("x", "FP64"),
        ("note", "BYTES"),
    ]
    assert service.client.get("/v2/models/sample/versions/v1/ready").json()["ready"] is True
    assert service.client.get("/v2/models/other").status_code == 404
    assert service.client.get("/v2/models/other/ready").status_code == 404
    inputs = tensor("id", "INT64", [1]), tensor("x", "FP64", [1]), tensor("note", "BYTES", [""])
    path = "/v2/models/sample/versions/{}/infer"
    assert infer(service, *inputs, path=path.format("v1")).status_code == 200
    assert infer(service, *inputs, path=path.format("v7")).status_code == 404
