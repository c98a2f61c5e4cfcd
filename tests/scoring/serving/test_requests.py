from __future__ import annotations

import concurrent.futures
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from scoring.serving.arrow_stream import is_compressed
from scoring.serving.bodies import ARROW
from tests.scoring.factories import Place, linear, predictions, rows, run_steps
from tests.scoring.serving.conftest import Service, Start


@pytest.fixture(scope="module")
def service(shared_place: Place, start_for_all: Start) -> Service:
    shared_place.job(output={"keep": ["note"]}, inputs={"x": {"type": "float64", "min": 0}})
    return start_for_all(shared_place)


def row(x: Any = 3.0, **changes: Any) -> dict[str, Any]:
    return {"id": 7, "x": x, "note": "n"} | changes


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_one_row_and_several_are_answered_with_version_and_digest(service: Service):
    one = service.predict(row())
    assert one.status_code == 200
    found = one.json()
    assert (found["job"], found["model_version"], len(found["model_sha256"])) == (
        "sample",
        "v1",
        64,
    )
    (answer,) = found["rows"]
    assert answer.pop("y") == pytest.approx(6.0)
    assert answer == {"row": 1, "status": "scored", "id": 7, "note": "n"}
    several = service.predict([row(1.0), row(2.0)]).json()["rows"]
    assert [answer["row"] for answer in several] == [1, 2]
    assert [answer["y"] for answer in several] == pytest.approx([2.0, 4.0])


def test_a_row_that_breaks_the_contract_has_its_reason_and_the_others_their_prediction(
    service: Service,
):
    sent = [row(-1), row(None), row("a"), row(id=None), row(True), row(float("inf")), row(4)]
    answer = service.client.post(
        "/v1/jobs/sample/predict",
        content=json.dumps(sent).replace("Infinity", "1e999"),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200
    found = answer.json()["rows"]
    assert [(r["status"], r.get("reason"), r.get("column"), r.get("value")) for r in found] == [
        ("quarantined", "below_min", "x", "-1"),
        ("quarantined", "missing_value", "x", None),
        ("quarantined", "wrong_type", "x", "a"),
        ("quarantined", "null_row_id", "id", None),
        ("quarantined", "wrong_type", "x", "true"),
        ("quarantined", "infinite", "x", "inf"),
        ("scored", None, None, None),
    ]
    assert found[6]["y"] == pytest.approx(8.0)


def test_only_a_request_without_any_prediction_is_unprocessable(service: Service):
    refused = service.predict([row(None), row(-1)])
    assert refused.status_code == 422
    assert [r["reason"] for r in refused.json()["rows"]] == ["missing_value", "below_min"]
    empty = service.predict([])
    assert (empty.status_code, empty.json()["rows"]) == (200, [])


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("{", "the body is not JSON: Expecting property name"),
        ("", "the body is not JSON"),
        ("[1]", "row 1 is a number; a row is a JSON object"),
        ('"text"', "row 1 is a text"),
        ('[{"id": 1, "x": 1, "note": ""}, []]', "row 2 is an array"),
        ('{"id": 1, "x": NaN, "note": ""}', "NaN is not a number of JSON; write null"),
        ('{"id": 1, "x": 1, "x": 2, "note": ""}', "an object has the key 'x' twice"),
        ('{"id": 1, "X": 2, "note": ""}', "row 1 of the request has no column 'x'"),
        ('{"id": 1, "X": 2, "note": ""}', "Perhaps 'X' for 'x'"),
        ("[" * 100_000, "the body is not JSON"),
        ('{"id": 1, "x": 1, "note": "\\ud800"}', "half a character"),
    ],
)
def test_a_body_that_is_none_is_a_bad_request_that_says_why(
    service: Service, body: str, detail: str
):
    answer = service.client.post(
        "/v1/jobs/sample/predict", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


def test_what_is_repeated_is_repeated_as_json_can(service: Service):
    body = '{"id": 1, "x": 1, "note": [1e999, "\\u00e9"]}'
    answer = service.client.post(
        "/v1/jobs/sample/predict", content=body, headers={"content-type": "application/json"}
    )
    assert answer.json()["rows"][0]["note"] == ["Infinity", "é"]


def test_an_arrow_stream_is_answered_with_one_row_for_row(service: Service):
    table = pa.table({"id": [1, 2, 3], "x": [1.0, None, 3.0], "note": ["a", "b", "c"]})
    answer = service.client.post(
        "/v1/jobs/sample/predict", content=stream(table), headers={"content-type": ARROW}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, ARROW)
    found = pa.ipc.open_stream(answer.content).read_all().to_pydict()
    assert found["row"] == [1, 2, 3]
    assert found["status"] == ["scored", "quarantined", "scored"]
    assert found["reason"] == [None, "missing_value", None]
    assert found["column"] == [None, "x", None]
    assert found["note"] == ["a", "b", "c"]
    assert found["y"] == [pytest.approx(2.0), None, pytest.approx(6.0)]
    assert set(found["model_version"]) == {"v1"}


@pytest.mark.parametrize(
    ("table", "detail"),
    [
        (pa.table({"id": [1], "note": ["a"]}), "has no column 'x'"),
        (pa.table({"id": [1], "x": ["1"], "note": ["a"]}), "the column 'x' is stored as text"),
    ],
)
def test_an_arrow_stream_of_other_columns_is_a_bad_request(
    service: Service, table: pa.Table, detail: str
):
    answer = service.client.post(
        "/v1/jobs/sample/predict", content=stream(table), headers={"content-type": ARROW}
    )
    assert answer.status_code == 400
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("encoded", [False, True])
def test_an_arrow_stream_that_would_grow_in_memory_is_refused(
    service: Service, compression: str, encoded: bool
):
    note = pa.array(["a" * 100_000] * 50)
    if encoded:  # the batch of the dictionary comes first
        note = note.dictionary_encode()
    table = pa.table({"id": range(50), "x": [1.0] * 50, "note": note})
    for body, status in ((stream(table, compression), 400), (stream(table), 200)):
        answer = service.client.post(
            "/v1/jobs/sample/predict", content=body, headers={"content-type": ARROW}
        )
        assert answer.status_code == status
    assert is_compressed(stream(table, compression))


@pytest.mark.parametrize("cut", [0, 3, 40, 300, -1])
def test_a_stream_that_ends_too_soon_is_a_bad_request(service: Service, cut: int):
    body = stream(pa.table({"id": [1], "x": [1.0], "note": ["a"]}))
    answer = service.client.post(
        "/v1/jobs/sample/predict",
        content=body[:cut] + b"rest",
        headers={"content-type": ARROW},
    )
    assert answer.status_code == 400


def test_csv_is_read_as_a_csv_source_is(service: Service):
    text = 'id,note,x\n1,"a,b",2.5\n2,,x\n3,c,\n'
    answer = service.client.post(
        "/v1/jobs/sample/predict", content=text, headers={"content-type": "text/csv"}
    ).json()["rows"]
    assert answer[0]["note"] == "a,b"
    assert answer[0]["y"] == pytest.approx(5.0)
    assert [r.get("reason") for r in answer] == [None, "wrong_type", "missing_value"]
    torn = service.client.post(
        "/v1/jobs/sample/predict", content='id,note,x\n1,"a', headers={"content-type": "text/csv"}
    )
    assert (torn.status_code, "line 2" in torn.json()["detail"]) == (400, True)


def test_what_does_not_exist_is_not_found(service: Service):
    assert service.predict(row(), job="other").status_code == 404
    assert "jobs: sample" in service.predict(row(), job="other").json()["detail"]
    version = service.predict(row(), params={"version": "v9"})
    assert (version.status_code, "it has v1" in version.json()["detail"]) == (404, True)
    as_of = service.predict(row(), params={"as_of": "2013-13"})
    assert (as_of.status_code, "looks like 2013-05" in as_of.json()["detail"]) == (400, True)
    media = service.client.post(
        "/v1/jobs/sample/predict", content="x", headers={"content-type": "image/png"}
    )
    assert media.status_code == 415
    route = service.client.get("/v1/nothing")
    assert (route.status_code, route.json()["title"]) == (404, "Not Found")


def test_the_version_is_that_in_force_or_the_one_that_is_pinned(place: Place, start: Start):
    place.model(linear(10.0), "v2.skops")
    versions = [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
        {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-07"},
    ]
    place.job(model={"versions": versions})
    service = start(place, "--now", "2013-05-20T00:00Z")
    one = {"id": 1, "x": 1.0}

    def found(**params: str) -> tuple[str, float]:
        answer = service.predict(one, params=params).json()
        return answer["model_version"], round(answer["rows"][0]["y"], 9)

    assert found() == ("v1", 2.0)
    assert found(version="v2") == ("v2", 10.0)
    assert found(as_of="2013-08") == ("v2", 10.0)
    assert found(as_of="2013-06") == ("v1", 2.0)
    assert found(as_of="2013-08", version="v1") == ("v1", 2.0)


def test_rows_of_another_partition_are_refused_only_where_one_is_named(place: Place, start: Start):
    place.source(rows(2, day=pa.array(["2013-02-03", "2013-02-04"]).cast(pa.timestamp("us"))))
    run_steps(place.run(place.job(source={"date_column": "day"}, output={"keep": ["day"]})))
    service = start(place)
    march = {"id": 1, "x": 1.0, "day": "2013-03-01T00:00:00"}
    assert service.predict(march).status_code == 200
    refused = service.predict(march, params={"as_of": "2013-02"})
    assert refused.status_code == 422
    assert refused.json()["rows"][0]["reason"] == "outside_partition"
    assert service.predict(march | {"day": None}).json()["rows"][0]["reason"] == "outside_partition"
    assert service.predict(march | {"day": "soon"}).json()["rows"][0]["reason"] == "wrong_type"


def test_derived_columns_and_conditions_read_the_types_of_the_published_months(
    place: Place, start: Start
):
    moments = pa.array(["2013-02-03T10:00:00", "2013-02-03T11:30:00"]).cast(pa.timestamp("us"))
    place.source(pa.table({"id": [1, 2], "left": moments, "n": [4, 5]}))
    job = place.job(
        source={"derive": {"x": "date_part('hour', \"left\") + n / 2.0"}},
        leave_out={"early": "date_part('minute', \"left\") = 30"},
        output={"keep": ["x"]},
    )
    published = predictions(run_steps(place.run(job))).to_pylist()
    service = start(place)
    answers = service.predict(
        [
            {"id": 1, "left": "2013-02-03T10:00:00", "n": 4},
            {"id": 2, "left": "2013-02-03T11:30:00", "n": 5},
            {"id": 3, "left": "2013-02-03T10:00:00", "n": "4"},
        ]
    ).json()["rows"]
    assert answers[0]["y"] == published[0]["y"]
    assert answers[0]["x"] == published[0]["x"] == 12.0
    assert answers[1] == {"row": 2, "status": "left_out", "id": 2, "reason": "early"}
    assert answers[2]["status"] == "quarantined"


def test_a_classifier_answers_with_its_probabilities(empty: Place, start: Start):
    frame = pd.DataFrame({"x": np.linspace(-1, 1, 40)})
    model = LogisticRegression().fit(frame, np.where(frame["x"] > 0, "yes", "no"))
    empty.model(model)
    empty.job(output={"prediction": "y", "probabilities": {"p_yes": "yes"}})
    (answer,) = start(empty).predict({"id": 1, "x": 0.5}).json()["rows"]
    assert answer["y"] == "yes"
    assert answer["p_yes"] == model.predict_proba(pd.DataFrame({"x": [0.5] * 16}))[0, 1]


def test_a_scorer_that_fails_for_one_request_fails_for_no_other(empty: Place, start: Start):
    empty.scorer(
        "import pandas as pd\n"
        "def run(df):\n"
        "    if (df['x'] == 13).any():\n"
        "        raise ValueError('thirteen')\n"
        "    return pd.DataFrame({'y': df['x'] + 1, 'extra': float('inf')}, index=df.index)\n"
    )
    empty.job(model=None, scorer="scorer.py")
    service = start(empty, "--max-wait-ms", "200")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: service.predict({"id": 1, "x": float(x)}), range(8, 16)))
    assert [answer.status_code for answer in answers] == [200] * 5 + [500] + [200] * 2
    assert "thirteen" in answers[5].json()["detail"]
    assert answers[0].json()["rows"][0] == {
        "row": 1, "status": "scored", "id": 1, "y": 9.0, "extra": "Infinity",
    }  # fmt: skip


def test_a_job_says_what_a_row_needs_and_its_example_is_scored(service: Service):
    assert service.client.get("/v1/jobs").json()["jobs"][0]["version"] == "v1"
    about = service.client.get("/v1/jobs/sample").json()
    assert about["in_force"]["version"] == "v1"
    assert about["row"]["required"] == ["id", "x", "note"]
    answer = service.predict(about["row"]["example"])
    assert (answer.status_code, answer.json()["rows"][0]["status"]) == (200, "scored")


def test_requests_are_counted(place: Place, start: Start):
    place.job()
    service = start(place)
    service.predict([row(), row(None)])
    service.predict("no")
    text = service.client.get("/metrics").text
    assert 'scoring_rows_total{job="sample",status="scored",version="v1"} 1.0' in text
    assert 'scoring_rows_total{job="sample",status="quarantined",version="v1"} 1.0' in text
    assert 'scoring_requests_total{job="sample",status="200"} 1.0' in text
