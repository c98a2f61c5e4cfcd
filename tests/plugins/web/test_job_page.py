"""The page of a job: its facts, and its figures over time, which are those of what is published."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from scoring_airflow.web import clock, job_page

from tests.plugins.web.conftest import Store, Stored, store_dag

ACTUALS = {"source": {"uri": "{data}/truth/{partition}.parquet"}, "column": "truth"}


def page(client: TestClient, job: Stored, path: str = "jobs/{}") -> str:
    answer = client.get("/scoring/" + path.format(job.name))
    assert answer.status_code == 200, answer.text
    return answer.text


def words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def facts(text: str) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text, re.DOTALL)
    return {name: words(value) for name, value in found}


def numbers(text: str, chart: str) -> dict[str, dict[str, str]]:
    """The table of a chart: texts by partition and column."""
    (section,) = re.findall(
        rf'<section class="chart-of" id="{chart}".*?</section>', text, re.DOTALL
    )
    head, body = section.split("<tbody>")
    columns = [words(one) for one in re.findall(r"<th scope=\"col\">(.*?)</th>", head)]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    found = [[words(c) for c in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in found}


def published(job: Stored, key: str) -> pd.DataFrame:
    table = pq.ParquetFile(job.destination / f"month={key}/predictions.parquet").read()
    return table.to_pandas()


def evaluate(job: Stored, key: str, error: float) -> None:
    """Evaluate a month whose true values are ``error`` below the predictions."""
    from scoring.job.loader import load_job
    from scoring.pipeline.context import PartitionContext
    from scoring.pipeline.evaluate import evaluate
    from scoring.storage.connections import Connections

    frame = published(job, key)
    folder = job.path.parent / "data/truth"
    folder.mkdir(exist_ok=True)
    truth = frame.assign(truth=frame["predicted_delay"] - error)[["flight", "truth"]]
    truth.to_parquet(folder / f"{key}.parquet")
    file = load_job(job.path)
    evaluate(PartitionContext(file, file.job.parse(key), file.roots(), "e", Connections()))


def test_the_figures_are_those_of_the_published_files(viewer: TestClient, store: Store) -> None:
    job = store(actuals=ACTUALS)
    job.publish("2013-02", "2013-04")
    evaluate(job, "2013-02", error=2.0)
    text = page(viewer, job)
    predictions, rows = numbers(text, "predictions"), numbers(text, "rows")
    for key in ("2013-02", "2013-04"):
        of = published(job, key)["predicted_delay"]
        shown = {name: value for name, value in predictions[key].items() if name[:1] in "m59"}
        assert float(shown["mean"]) == pytest.approx(of.mean(), rel=1e-3)
        for name, q in (("5 %", 0.05), ("median", 0.5), ("95 %", 0.95)):
            expected = of.quantile(q, interpolation="lower")
            assert float(shown[name]) == pytest.approx(expected, rel=1 / 64), (key, name)
        quarantine = list((job.destination / f"_quarantine/month={key}").iterdir())
        (count,) = [len(pq.ParquetFile(file).read()) for file in quarantine]
        assert rows[key]["scored"] == f"{len(of):,}"
        assert rows[key]["quarantined"] == str(count)
        assert rows[key]["reasons"] == f"missing_value: delay {count}"
        fraction = numbers(text, "quarantined")[key]
        assert fraction["quarantined"] == "2\u202f%".replace("\u202f", " ")
        assert fraction["limit"] == "10 %"
    assert set(predictions["2013-03"].values()) == {"2013-03", "–"}  # nothing is published
    errors = numbers(text, "error")
    assert (errors["2013-02"]["RMSE"], errors["2013-02"]["MAE"]) == ("2", "2")
    assert errors["2013-02"]["rows with an actual"] == "2,450 of 2,450"
    assert errors["2013-04"]["RMSE"] == "–"


def test_a_line_breaks_where_nothing_is_published(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-04")
    (median,) = re.findall(r'<path class="line-0" d="([^"]*)"', page(viewer, job).split("Rows")[0])[
        1:
    ]
    assert median.count("M") == 2
    assert "L" not in median


def test_a_column_leads_to_its_partition(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    text = page(viewer, job)
    (hits,) = re.findall(r'id="rows".*?class="timeline hits".*?</svg>', text, re.DOTALL)
    assert re.findall(r'<a href="([^"]*)"', hits) == [
        f"/scoring/jobs/{job.name}/2013-0{month}" for month in (2, 3, 4)
    ]
    assert re.findall(r"<title>(.*?)</title>", hits) == [
        "2013-02 by v1: scored 2,450, quarantined 50, left out 0, reasons: missing_value: delay 50",
        "2013-03: nothing published",
        "2013-04: nothing published",
    ]


def test_an_evaluation_of_an_earlier_publication_is_marked(
    viewer: TestClient, store: Store
) -> None:
    job = store(actuals=ACTUALS)
    job.publish("2013-02")
    evaluate(job, "2013-02", error=3.0)
    text = page(viewer, job)
    assert "an earlier publication" not in text
    table = pa.table({"flight": [1, 2], "delay": [1.0, 2.0]})
    pq.write_table(table, job.path.parent / "data/flights/2013-02.parquet")
    job.publish("2013-02")
    text = page(viewer, job)
    assert numbers(text, "error")["2013-02"]["evaluation of"] == "an earlier publication"
    assert '<path class="dot old"' in text


def test_shares_of_classes(viewer: TestClient, store: Store) -> None:
    job = store(scorer="kinds.py", output={"prediction": "kind", "types": {"kind": "string"}})
    (job.path.parent / "kinds.py").write_text(
        "def run(df, model):\n"
        "    return df.assign(kind=['late' if d > 40 else 'fine' for d in df.delay])[['kind']]\n"
    )
    job.publish("2013-02")
    of = published(job, "2013-02")["kind"].value_counts(normalize=True)
    shown = numbers(page(viewer, job), "predictions")["2013-02"]
    assert shown["late"] == f"{of['late']:.1%}".replace("%", " %")
    assert shown["fine"] == f"{of['fine']:.1%}".replace("%", " %")


def test_the_facts_of_a_job(viewer: TestClient, job: Stored) -> None:
    found = facts(page(viewer, job))
    assert found["Owner"].startswith("analytics flights")
    assert found["Schedule"] == "At 03:00, on day 2 of the month, time zone UTC 0 3 2 * *"
    assert found["Next run"].startswith("2013-02, 2013-03-02 03:00 UTC")
    assert found["Partitions"] == "one a month, from 2013-02 to 2013-04"
    assert found["Source"] == "{data}/flights/{partition}.parquet"


def test_the_job_file_has_lines_to_link_to(viewer: TestClient, job: Stored) -> None:
    lines = job.path.read_text().splitlines()
    text = page(viewer, job)
    found = re.findall(r'<span id="L(\d+)"><a [^>]*>\d+</a>(.*?)\n</span>', text)
    assert [(int(n), unescape(line)) for n, line in found] == list(enumerate(lines, 1))


def test_who_may_not_read_the_code_of_a_dag_does_not_see_the_job_file(
    viewer: TestClient, job: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import _AuthManagerState
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    class NoCode(SimpleAuthManager):
        def is_authorized_dag(self, *, access_entity: Any = None, **facts: Any) -> bool:
            if access_entity == DagAccessEntity.CODE:
                return False
            return super().is_authorized_dag(access_entity=access_entity, **facts)

    assert 'id="L1"' in page(viewer, job)
    monkeypatch.setattr(_AuthManagerState, "instance", NoCode())
    assert 'id="L1"' not in page(viewer, job)


def test_what_is_stale_is_grouped_by_its_reason(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    text = page(viewer, job)
    assert 'id="stale"' not in text
    for key in ("2013-02", "2013-03"):
        table = pa.table({"flight": [1], "delay": [1.0]})
        pq.write_table(table, job.path.parent / f"data/flights/{key}.parquet")
    text = page(viewer, job)
    (stale,) = re.findall(r'aria-labelledby="stale".*?</section>', text, re.DOTALL)
    assert re.findall(r"<code>(.*?)</code>", stale) == [
        f"airflow scoring backfill {job.name} 2013-02..2013-03"
    ]


def test_which_job_file_made_which_partitions(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02", "2013-03")
    job.path.write_text(job.path.read_text() + "\n# Another one.\n")
    job.publish("2013-04")
    (uses,) = re.findall(r'aria-labelledby="files".*?</section>', page(viewer, job), re.DOTALL)
    rows = [words(row) for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", uses, re.DOTALL)]
    assert len(rows) == 2
    assert "as it is now 1 2013-04 v2 a run from the test (2013-04)" in rows[0]
    assert rows[1].endswith("2 2013-02..2013-03 v1 a run from the test (2013-02)")


def test_an_empty_job_says_what_to_do(viewer: TestClient, store: Store) -> None:
    nothing = store()
    text = page(viewer, nothing)
    assert f"airflow scoring backfill {nothing.name} 2013-02</code>" in text
    nothing.publish("2013-02")
    text = page(viewer, nothing)
    assert "the job has no <code>actuals</code>" in text
    assert "with <code>checks.drift</code> in the job file" in text
    with_actuals = store(actuals=ACTUALS)
    with_actuals.publish("2013-02")
    assert f"scoring evaluate {with_actuals.name}</code>" in page(viewer, with_actuals)


def test_of_many_partitions_the_latest_are_shown(
    pages: FastAPI, viewer: TestClient, store: Store
) -> None:
    job = store(
        partition="hour",
        schedule="15 * * * *",
        start="2013-02-01T00+0000",
        end=None,
        model={
            "versions": [
                {
                    "version": "v1",
                    "uri": "{models}/v1.skops",
                    "in_force_from": "2013-02-01T00+0000",
                }
            ]
        },
    )
    flights = pa.table({"flight": [1], "delay": [1.0]})
    pq.write_table(flights, job.path.parent / "data/flights/2013-02-01T00+0000.parquet")
    pages.dependency_overrides[clock.now] = lambda: datetime(2013, 4, 12, 0, 30, tzinfo=UTC)
    job.publish("2013-02-01T00+0000")
    text = page(viewer, job)
    assert f"The latest {job_page.CHARTED} of 1,680 partitions" in text
    assert len(re.findall(r"<th scope=\"row\">2013-\d\d-\d\d</th>", text)) == 31
    assert "936 earlier partitions left out" in text
    answer = viewer.get(f"/scoring/api/v1/jobs/{job.name}/timeline").json()
    assert len(answer["points"]) == 1_680


def test_a_storage_that_cannot_be_read_hides_nothing_else(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    (job.destination / "_timeline.json").mkdir()
    text = page(viewer, job)
    assert "Arrival delay of a few flights." in text
    assert f'data-row="{job.name}"' in text
    assert '<p class="problem">' in text


def test_the_same_as_json(viewer: TestClient, store: Store) -> None:
    job = store(actuals=ACTUALS)
    job.publish("2013-02")
    evaluate(job, "2013-02", error=2.0)
    answer = viewer.get(f"/scoring/api/v1/jobs/{job.name}/timeline").json()
    assert (answer["job"], answer["prediction"]) == (job.name, "predicted_delay")
    first, second, third = answer["points"]
    of = published(job, "2013-02")["predicted_delay"]
    assert (first["rows"], first["quarantined"], first["quarantined_fraction"]) == (2450, 50, 0.02)
    assert first["prediction"]["mean"] == pytest.approx(of.mean())
    assert first["evaluation"]["figures"]["mae"] == pytest.approx(2.0)
    assert first["evaluation"]["of_what_is_published"] is True
    assert second == dict.fromkeys(second) | {"partition": "2013-03"}
    assert third["partition"] == "2013-04"


def test_the_tab_of_a_dag_leads_to_its_job(viewer: TestClient, store: Store) -> None:
    job = store(actuals=ACTUALS)
    for dag_id in (job.name, f"{job.name}.evaluate"):
        answer = viewer.get(f"/scoring/dags/{dag_id}")
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/scoring/jobs/{job.name}"


def test_the_tab_of_another_dag_says_that_it_scores_nothing(viewer: TestClient) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    for dag_id in ("no_job", "no_job.evaluate"):
        with DAG(dag_id, schedule=None) as dag:
            EmptyOperator(task_id="one")
        store_dag(dag)
        answer = viewer.get(f"/scoring/dags/{dag_id}")
        assert (answer.status_code, "publishes no predictions" in answer.text) == (200, True)
    assert viewer.get("/scoring/dags/not_there").status_code == 404
