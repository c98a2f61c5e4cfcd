"""The first page: what it says of each partition, and whether everything is well."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from scoring_airflow.web import clock, jobs

from tests.plugins.web.conftest import NOW, Store, Stored, forget_dags, store_dag

MONTHS = ("2013-02", "2013-03", "2013-04")


def page(client: TestClient, of: Stored, **query: str) -> str:
    answer = client.get("/scoring/", params={"name": of.name, **query})
    assert answer.status_code == 200
    return answer.text


def labels(text: str) -> dict[str, str]:
    """What is said of each cell of the grid, by its key."""
    found = re.findall(r"<a class=\"cell[^>]* aria-label=\"(\S+) (\S+): ([^\"]*)\"", text)
    return {key: words for _, key, words in found}


def verdict(text: str) -> str:
    (heading,) = re.findall(r"<h1>(.*?)</h1>", text, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", heading).split())


def test_everything_is_well(viewer: TestClient, job: Stored) -> None:
    job.publish(*MONTHS)
    text = page(viewer, job)
    assert labels(text) == {
        "2013-02": "published by v1, 2,450 rows, 50 quarantined",
        "2013-03": "published by v1, 1,176 rows, 24 quarantined",
        "2013-04": "published by v2, 980 rows, 20 quarantined",
    }
    assert verdict(text) == "✓ Everything is well: 1 job, 3 partitions published"
    assert f'href="/scoring/jobs/{job.name}/2013-02"' in text


def test_what_needs_attention_comes_first(viewer: TestClient, store: Store) -> None:
    well, late, broken = store(name="a_well"), store(name="b_late"), store(name="c_broken")
    well.publish(*MONTHS)
    late.publish("2013-02", "2013-03")
    broken.publish("2013-02", "2013-03")
    broken.run("2013-04", "failed")
    text = viewer.get("/scoring/").text
    assert verdict(text).endswith("of 3 jobs need attention: 1 failed, 1 missing")
    rows = re.findall(r'<tr data-row="(\w+)"', text)
    assert rows == ["c_broken", "b_late", "a_well"]


def test_a_run_says_what_becomes_of_a_partition(viewer: TestClient, job: Stored) -> None:
    job.publish("2013-02")
    job.run("2013-03", "running")
    job.run("2013-04", "failed")
    assert labels(page(viewer, job)) == {
        "2013-02": "published by v1, 2,450 rows, 50 quarantined",
        "2013-03": "running",
        "2013-04": "failed",
    }


def test_a_run_that_has_failed_stays_a_note_where_something_is_published(
    viewer: TestClient, job: Stored
) -> None:
    job.publish(*MONTHS)
    job.run("2013-03", "queued")
    assert labels(page(viewer, job))["2013-03"].endswith(", its last run is queued")


def test_before_its_run_is_due_a_partition_is_not_missing(
    pages: FastAPI, viewer: TestClient, job: Stored
) -> None:
    job.publish("2013-02")
    pages.dependency_overrides[clock.now] = lambda: datetime(2013, 4, 2, 2, 59, tzinfo=UTC)
    text = page(viewer, job)
    assert labels(text)["2013-03"] == "not due until 2013-04-02 03:00 UTC"
    assert verdict(text).startswith("✓ Everything is well")
    pages.dependency_overrides[clock.now] = lambda: datetime(2013, 4, 2, 3, tzinfo=UTC)
    assert labels(page(viewer, job))["2013-03"] == "missing"


def test_why_a_partition_is_stale(viewer: TestClient, job: Stored) -> None:
    job.publish(*MONTHS)
    text = job.path.read_text().replace("in_force_from: 2013-04", "in_force_from: 2013-03")
    job.path.write_text(text.replace("in_force_from: '2013-04'", "in_force_from: '2013-03'"))
    found = page(viewer, job)
    assert labels(found)["2013-03"] == (
        "stale, v2 is in force, v1 scored it, 1,176 rows, 24 quarantined"
    )
    assert verdict(found) == "! 1 of 1 job needs attention: 1 stale"


def test_a_job_that_cannot_be_read_says_so_in_its_row(viewer: TestClient, store: Store) -> None:
    here, gone, wrong, lost = store(), store(), store(), store()
    here.publish(*MONTHS)
    gone.path.unlink()
    wrong.path.write_text("name: [")
    lost.publish("2013-02")
    manifest = lost.destination / "_manifests/month=2013-02.json"
    manifest.write_text("{")
    text = viewer.get("/scoring/").text
    assert set(labels(text)) == set(MONTHS)
    assert f"{gone.path} cannot be read (No such file or directory): the API server needs" in text
    assert f"{wrong.path}, line 2: not valid YAML" in text
    assert f"{manifest} is not a manifest" in text
    assert verdict(text).endswith("jobs need attention: 3 that cannot be read")


def test_a_storage_that_does_not_answer_keeps_no_other_job_waiting(
    viewer: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, hangs = store(), store()
    here.publish(*MONTHS)
    (hangs.destination / "_manifests").mkdir(parents=True)
    pipe = hangs.destination / "_manifests/month=2013-02.json"
    os.mkfifo(pipe)  # a reader waits for a writer
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", 5.0)
    try:
        text = viewer.get("/scoring/").text
    finally:
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
        pipe.unlink()
    assert "its storage has not answered within 5 seconds" in text
    assert set(labels(text)) == set(MONTHS)


def test_filters(viewer: TestClient, store: Store) -> None:
    one, two = store(tags=["red"]), store(tags=["blue"])
    one.publish(*MONTHS)

    def shown(**query: str) -> set[str]:
        text = viewer.get("/scoring/", params=query).text
        return set(re.findall(r'<tr data-row="(\w+)"', text)) & {one.name, two.name}

    assert shown() == {one.name, two.name}
    assert shown(name=one.name.upper()) == {one.name}
    assert shown(tag="blue") == {two.name}
    assert shown(state="missing") == {two.name}
    assert shown(state="attention") == {two.name}
    assert shown(state="published") == {one.name}
    nothing = viewer.get("/scoring/", params={"name": "no such job"}).text
    assert verdict(nothing) == "No job matches"
    assert "verdict good" not in nothing
    assert "Show all jobs" in nothing


def test_earlier_years_are_folded(pages: FastAPI, viewer: TestClient, store: Store) -> None:
    job = store(start="2008-01", model={"policy": "current"})
    pages.dependency_overrides[clock.now] = lambda: datetime(2013, 5, 20, tzinfo=UTC)
    text = page(viewer, job)
    assert "2011-01" in labels(text)
    assert "2010-12" not in labels(text)
    assert 'M 36<span class="visually-hidden"> missing</span>' in text
    assert "2008-01" in labels(page(viewer, job, show="all"))


def test_a_dag_of_its_own_that_uses_the_operators_is_shown(admin: TestClient, job: Stored) -> None:
    from airflow.sdk import DAG, CronDataIntervalTimetable
    from scoring_airflow import ExtractOperator

    job.publish("2013-02")
    schedule = CronDataIntervalTimetable("0 3 2 * *", timezone="UTC")
    with DAG("of_my_own", schedule=schedule, start_date=NOW) as dag:
        ExtractOperator(task_id="extract", job_file=str(job.path))
    store_dag(dag)
    try:
        text = admin.get("/scoring/", params={"name": "of_my_own"}).text
    finally:
        forget_dags("of_my_own")
    assert labels(text)["2013-02"] == "published by v1, 2,450 rows, 50 quarantined"
    assert f'data-row="of_my_own" data-publish="{job.name}"' in text


def test_who_may_backfill_gets_the_button(
    viewer: TestClient, admin: TestClient, job: Stored
) -> None:
    assert "data-may-backfill" not in page(viewer, job)
    text = page(admin, job)
    assert "data-may-backfill" in text
    assert 'data-backfills="/api/v2/backfills"' in text
    (cell,) = re.findall(r"<a class=\"cell[^>]*data-key=\"2013-03\"[^>]*>", text)
    assert 'data-from="2013-03-01T00:00:00Z" data-to="2013-03-31T23:59:59Z"' in cell


def test_the_dag_that_evaluates_a_job_is_not_a_second_job(store: Store, admin: TestClient) -> None:
    job = store(actuals={"source": {"uri": "{data}/truth/{partition}.parquet"}, "column": "truth"})
    assert f'data-row="{job.name}"' in admin.get("/scoring/").text
    assert f"{job.name}.evaluate" not in admin.get("/scoring/").text


def test_pages_below_a_path_link_below_it(
    viewer: TestClient, job: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/air/flow/")
    for path in ("", f"jobs/{job.name}", f"jobs/{job.name}/2013-02", f"models/{job.name}/v1"):
        text = viewer.get(f"/scoring/{path}").text
        links = re.findall(r'(?:href|src|action|data-backfills)="([^"#]+)"', text)
        assert len(links) > 4
        assert [link for link in links if not link.startswith("/air/flow/")] == [], path
