"""The pages of model versions: what each is, what it has scored, and its figures side by side."""

from __future__ import annotations

import hashlib
import json
import re

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from tests.plugins.web.conftest import Store, Stored
from tests.plugins.web.test_job_page import ACTUALS, evaluate, facts, page, published, words

COLUMNS = [
    "Version",
    "In force",
    "Partitions",
    "Rows",
    "Mean",
    "Medians",
    "Quarantined",
    "Worst drift",
]


def compared(text: str) -> dict[str, dict[str, str]]:
    """The table of all versions: texts by version and column."""
    head, body = text.split("</tbody>")[0].split("<tbody>")
    columns = [words(one) for one in re.findall(r"<th scope=\"col\".*?>(.*?)</th>", head)]
    assert columns[: len(COLUMNS)] == COLUMNS
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    found = [[words(c) for c in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", r, re.DOTALL)] for r in rows]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in found}


@pytest.fixture
def scored(store: Store) -> Stored:
    """Three months by two versions; the first two months are evaluated."""
    job = store(actuals=ACTUALS)
    job.publish("2013-02", "2013-03", "2013-04")
    evaluate(job, "2013-02", error=1.0)
    evaluate(job, "2013-03", error=4.0)
    return job


def test_versions_side_by_side(viewer: TestClient, scored: Stored) -> None:
    found = compared(page(viewer, scored, "models/{}"))
    assert list(found) == ["v1", "v2"]
    v1 = found["v1"]
    months = [published(scored, key)["predicted_delay"] for key in ("2013-02", "2013-03")]
    rows = [len(of) for of in months]
    assert v1["In force"] == "2013-02 to 2013-03"
    assert v1["Partitions"] == "2013-02 to 2013-03 : 2"
    assert v1["Rows"] == f"{sum(rows):,}"
    assert float(v1["Mean"]) == pytest.approx(pd.concat(months).mean(), rel=1e-3)
    assert v1["Quarantined"] == "2 %"
    mae = (1.0 * rows[0] + 4.0 * rows[1]) / sum(rows)
    rmse = ((1.0 * rows[0] + 16.0 * rows[1]) / sum(rows)) ** 0.5
    assert float(v1["MAE"]) == pytest.approx(mae, rel=1e-3)
    assert float(v1["RMSE"]) == pytest.approx(rmse, rel=1e-3)
    assert v1["Rows with an actual"] == f"{sum(rows):,} (2 partitions)"
    assert (found["v2"]["In force"], found["v2"]["MAE"]) == ("from 2013-04 on", "–")


def test_one_version(viewer: TestClient, scored: Stored) -> None:
    text = page(viewer, scored, "models/{}/v1")
    found = facts(text)
    digest = hashlib.sha256((scored.path.parent / "data/models/v1.skops").read_bytes()).hexdigest()
    assert found["SHA-256"] == f"{digest} found when it scored"
    assert found["Model"] == "{models}/v1.skops"
    assert found["Format"] == "skops"
    assert found["Saved with"].startswith("scikit-learn ")
    assert found["First used"].startswith("for 2013-02 by a run from the test , with the job file ")
    assert "over 3,626 rows of 2 partitions, weighted by rows" in found["Error"]
    assert re.findall(r'<a class="cell[^>]*data-key="(\S+)"', text) == ["2013-02", "2013-03"]


def test_a_version_that_has_scored_nothing(viewer: TestClient, job: Stored) -> None:
    text = page(viewer, job, "models/{}/v2")
    assert facts(text)["In force"] == "from 2013-04 on (policy as_of )"
    assert "Nothing that is published was scored by this version." in text
    assert compared(page(viewer, job, "models/{}"))["v1"]["Partitions"] == "none published"


def test_a_version_that_the_job_file_no_longer_has(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    job.path.write_text(job.path.read_text().replace("version: v1", "version: v0"))
    found = compared(page(viewer, job, "models/{}"))
    assert list(found) == ["v0", "v2", "v1"]
    assert found["v1"]["In force"] == "not by the job file as it is now"
    assert facts(page(viewer, job, "models/{}/v1"))["Model"].endswith("/models/v1.skops")


def test_what_the_versions_are(viewer: TestClient, scored: Stored) -> None:
    files = page(viewer, scored, "models/{}").split('id="files"')[1]
    first, second = re.findall(r"<tr><th scope=\"row\">.*?</tr>", files, re.DOTALL)
    model = scored.path.parent / "data/models/v1.skops"
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert words(first).startswith(f"v1 {{models}}/v1.skops skops {digest[:12]} found – that of")
    assert "scikit-learn" in words(first)
    assert words(second).startswith("v2 {models}/v2.skops")


def test_a_registered_version_that_an_alias_meant(viewer: TestClient, store: Store) -> None:
    before = store()
    before.publish("2013-02")
    champion = {
        "version": "champion",
        "uri": "mlflow:models:/flights@champion",
        "trust": "registry",
        "in_force_from": "2013-02",
    }
    job = store(model={"versions": [champion]})
    manifest = json.loads((before.destination / "_manifests/month=2013-02.json").read_text())
    manifest["job"] = job.name
    manifest["model"]["version"] = "champion.3"
    manifest["model"]["registered"] = {"name": "flights", "number": "3", "source": "mlflow"}
    folder = job.destination / "_manifests"
    folder.mkdir(parents=True)
    (folder / "month=2013-02.json").write_text(json.dumps(manifest))
    found = compared(page(viewer, job, "models/{}"))
    assert list(found) == ["champion", "champion.3"]
    assert found["champion"]["In force"] == "from 2013-02 on"
    assert found["champion.3"]["In force"] == "where champion meant it"
    assert (
        facts(page(viewer, job, "models/{}/champion.3"))["MLflow registry"] == "flights , number 3"
    )


def test_a_version_that_never_was_is_not_found(viewer: TestClient, job: Stored) -> None:
    answer = viewer.get(f"/scoring/models/{job.name}/v9")
    assert answer.status_code == 404
    assert "has no model version v9" in answer.text


def test_a_job_without_a_model(viewer: TestClient, store: Store) -> None:
    job = store(model=None, scorer="twice.py")
    (job.path.parent / "twice.py").write_text(
        "def run(df):\n    return df.assign(predicted_delay=2 * df.delay)[['predicted_delay']]\n"
    )
    assert "The job has no model" in page(viewer, job, "models/{}")
