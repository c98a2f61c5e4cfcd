from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import clear_task_instances
from airflow.models.xcom import XComModel
from airflow.sdk import BaseNotifier
from airflow.utils.session import create_session

from tests.plugins.conftest import FEBRUARY, Start
from tests.plugins.conftest import scored as score_all


@pytest.fixture
def scored(start: Start):
    of = start(run_id="manual__1")
    first, second, third = score_all(of)
    of.upload.scored = [third, first, second]  # Airflow promises no order
    return of


def _events(of) -> list[AssetEvent]:
    with create_session() as session:
        return session.query(AssetEvent).filter_by(source_dag_id=of.run.dag.dag_id).all()


def test_it_publishes_the_partition(scored) -> None:
    assert scored.run.run(scored.upload).state == "success"
    output = scored.published / "month=2013-02" / "predictions.parquet"
    assert list(pd.read_parquet(output)["flight"]) == [i for i in range(1, 2501) if i % 50]
    manifest = json.loads((scored.published / "_manifests" / "month=2013-02.json").read_text())
    assert manifest["output"]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert manifest["run"] == {
        "by": "airflow",
        "dag_id": scored.run.dag.dag_id,
        "run_id": "manual__1",
        "try_number": "1",
    }
    assert list((scored.published / "_staging").rglob("*.*")) == []


def test_the_asset_event_carries_the_figures(scored) -> None:
    assert scored.run.run(scored.upload).state == "success"
    output = scored.published / "month=2013-02" / "predictions.parquet"
    figures = {
        "job": "small_flights",
        "partition": "2013-02",
        "model_version": "v1",
        "rows_in": 2500,
        "rows_scored": 2450,
        "rows_quarantined": 50,
        "rows_left_out": 0,
        "output": str(output),
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
        "quarantine": str(next(scored.published.glob("_quarantine/**/*.parquet"))),
        "warnings": 0,
        "drift": None,
    }
    (event,) = _events(scored)
    assert event.extra == figures
    assert scored.run.returned(scored.upload) == figures


def test_every_step_keeps_to_the_partition_that_the_conf_names(start: Start) -> None:
    of = start(datetime(2026, 10, 2, 3, tzinfo=UTC), "manual__1", conf={"partition": "2013-03"})
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "success"
    assert [path.name for path in of.published.glob("month=*")] == ["month=2013-03"]
    for cleared_alone in (of.score, of.upload):
        assert of.run.run(cleared_alone).state == "success"
    assert of.run.returned(of.upload)["partition"] == "2013-03"


def test_nothing_is_published_while_a_shard_is_missing(scored) -> None:
    complete = scored.upload.scored
    scored.upload.scored = [shard for shard in complete if shard["number"] < 2]
    result = scored.run.run(scored.upload)
    assert result.state == "up_for_retry"
    assert "2 of 3 shards were scored" in str(result.error)
    assert list((scored.published / "month=2013-02").glob("*")) == []
    assert not (scored.published / "_manifests").exists()
    assert _events(scored) == []
    scored.upload.scored = complete
    assert scored.run.run(scored.upload).state == "success"
    manifest = json.loads((scored.published / "_manifests" / "month=2013-02.json").read_text())
    assert manifest["run"]["try_number"] == "2"


def test_it_needs_no_outlets(scored) -> None:
    scored.upload.outlets = []
    assert scored.run.run(scored.upload).state == "success"
    assert _events(scored) == []


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every published file, without what a run stages."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if "_staging" not in path.parts}


@pytest.fixture
def overtaken(start: Start):
    """A run whose upload has failed, and whose month another run has published since."""
    older = start(run_id="older", extract={"model_version": "v1"})
    shards = score_all(older)
    older.upload.scored = shards[:2]
    assert older.run.run(older.upload).state == "up_for_retry"
    older.upload.scored = shards
    newer = start(FEBRUARY + timedelta(days=1), run_id="newer", extract={"model_version": "v2"})
    newer.upload.scored = score_all(newer)
    assert newer.run.run(newer.upload).state == "success"
    return older


def clear_upload(of) -> None:
    """As a user does in the web UI: this task of this run, and no other."""
    with create_session() as session:
        run = session.query(DagRun).filter_by(dag_id=of.run.dag.dag_id, run_id="older").one()
        clear_task_instances([run.get_task_instance("upload", session=session)], session)


def test_a_failed_upload_that_is_cleared_replaces_no_newer_publication(overtaken) -> None:
    before = snapshot(overtaken.published)
    clear_upload(overtaken)
    result = overtaken.run.run(overtaken.upload)
    assert result.state == "failed"  # although retries are left: they would change nothing
    message = str(result.error)
    assert "the run newer of the Dag" in message
    assert "with model version v2, after the run older of the Dag" in message
    assert "The newer publication stands; nothing was changed" in message
    assert "clear the run from its first task" in message
    assert '{"replace_newer": true}' in message
    assert snapshot(overtaken.published) == before


def test_a_cleared_upload_replaces_it_when_asked_to_and_says_so(overtaken) -> None:
    clear_upload(overtaken)
    overtaken.upload.replace_newer = "True"  # as the template of the Dag renders a run's conf
    assert overtaken.run.run(overtaken.upload).state == "success"
    manifest = json.loads((overtaken.published / "_manifests" / "month=2013-02.json").read_text())
    assert manifest["model"]["version"] == "v1"
    dag_id = overtaken.run.dag.dag_id
    assert manifest["run"]["replaced_newer"] == f"the run newer of the Dag {dag_id}"


def test_replace_newer_is_true_or_false_and_nothing_else(overtaken) -> None:
    before = snapshot(overtaken.published)
    overtaken.upload.replace_newer = "yes"
    result = overtaken.run.run(overtaken.upload)
    assert result.state == "failed"
    assert "replace_newer is 'yes'; it must be true or false" in str(result.error)
    assert snapshot(overtaken.published) == before


def command_for(of) -> str:
    """What clears the run of February as a whole."""
    moment = "2013-02-02T03:00:00+00:00"
    dates = f"--start-date {moment} --end-date {moment}"
    return f"`airflow tasks clear {of.run.dag.dag_id} {dates} --yes`"


def test_what_has_to_be_cleared_is_a_command(overtaken) -> None:
    clear_upload(overtaken)
    message = str(overtaken.run.run(overtaken.upload).error)
    assert f"clear the run from its first task, {command_for(overtaken)})" in message


def manifest_of(of) -> dict[str, object]:
    return json.loads((of.published / "_manifests" / "month=2013-02.json").read_text())


def test_a_retry_is_done_when_another_run_has_published_the_same_meanwhile(start: Start) -> None:
    older = start(run_id="older")
    shards = score_all(older)
    older.upload.scored = shards[:2]
    assert older.run.run(older.upload).state == "up_for_retry"
    older.upload.scored = shards
    newer = start(FEBRUARY + timedelta(days=1), run_id="newer")
    newer.upload.scored = score_all(newer)
    assert newer.run.run(newer.upload).state == "success"
    before = snapshot(older.published)
    assert older.run.run(older.upload).state == "success"  # its retry
    assert snapshot(older.published) == before
    assert manifest_of(older)["run"]["run_id"] == "newer"
    assert older.run.returned(older.upload)["sha256"] == manifest_of(older)["output"]["sha256"]
    assert list((older.published / "_staging").rglob("*.*")) == []


@pytest.mark.parametrize("changed", ["source", "model file", "job file"])
def test_a_retry_is_refused_when_the_other_run_has_published_something_else(
    start: Start, data: Path, changed: str
) -> None:
    older = start(run_id="older")
    shards = score_all(older)
    older.upload.scored = shards[:2]
    assert older.run.run(older.upload).state == "up_for_retry"
    older.upload.scored = shards
    job, source, model = older.job, data / "flights/2013-02.parquet", data / "models/v1.skops"
    if changed == "source":
        shutil.copy(data / "flights/2013-03.parquet", source)
    if changed == "model file":
        shutil.copy(data / "models/v2.skops", model)
    newer = start(FEBRUARY + timedelta(days=1), run_id="newer")
    text = job.read_text()
    if changed == "job file":
        job.write_text(text.replace("Arrival delay", "The delay"))
    newer.upload.scored = score_all(newer)
    assert newer.run.run(newer.upload).state == "success"
    job.write_text(text)
    before = snapshot(older.published)
    result = older.run.run(older.upload)
    assert result.state == "failed"
    assert "The newer publication stands; nothing was changed" in str(result.error)
    assert snapshot(older.published) == before


@pytest.fixture
def finished(start: Start):
    """A run that has published February with v1."""
    of = start(run_id="older")
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "success"
    return of


def test_an_upload_that_is_cleared_alone_reports_what_its_run_has_published(finished) -> None:
    before = snapshot(finished.published)
    clear_upload(finished)
    finished.upload.scored = []
    assert finished.run.run(finished.upload).state == "success"
    assert snapshot(finished.published) == before
    assert finished.run.returned(finished.upload)["model_version"] == "v1"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("pin", "and now model version v2 is requested"),
        ("policy", "small_flights.yaml has changed and model version v9 is requested"),
        ("model file", "and now the file of model version v1 has changed"),
        ("job file", "small_flights.yaml has changed;"),
    ],
)
def test_an_upload_that_is_cleared_alone_does_not_pass_old_predictions_for_what_is_asked_now(
    finished, data: Path, changed: str, expected: str
) -> None:
    before = snapshot(finished.published)
    text = finished.job.read_text()
    if changed == "pin":
        finished.extract.model_version = "{{ 'v' ~ 2 }}"
    if changed == "policy":
        finished.job.write_text(text.replace("version: v1", "version: v9"))
    if changed == "model file":
        shutil.copy(data / "models/v2.skops", data / "models/v1.skops")
    if changed == "job file":
        finished.job.write_text(text.replace("Arrival delay", "The delay"))
    clear_upload(finished)
    result = finished.run.run(finished.upload)
    assert result.state == "failed"  # at once: no retry would change it
    message = str(result.error)
    assert (
        "small_flights 2013-02: this run has published it with model version v1, and now" in message
    )
    assert expected in message
    assert "what was published stays" in message
    assert command_for(finished) in message
    assert snapshot(finished.published) == before


def test_a_month_that_has_drifted_is_held_until_somebody_accepts_it(start: Start) -> None:
    checks = {"max_quarantined_fraction": 0.1, "drift": {"hold": {"PSI": 0.25}}}
    before = start(run_id="before", checks=checks)
    before.upload.scored = score_all(before)
    assert before.run.run(before.upload).state == "success"
    march = FEBRUARY + timedelta(days=28)
    of = start(march, "manual__1", extract={"model_version": "v2"}, checks=checks)
    of.upload.scored = score_all(of)
    result = of.run.run(of.upload)
    assert result.state == "failed"  # without a retry: it would be held again
    assert "small_flights 2013-03 is held" in str(result.error)
    assert "predicted_delay, compared with 2013-02: PSI" in str(result.error)
    assert list((of.published / "month=2013-03").glob("*")) == []
    of.upload.accept_drift = "v2 is another scale"
    assert of.run.run(of.upload).state == "success"
    manifest = json.loads((of.published / "_manifests" / "month=2013-03.json").read_text())
    assert manifest["run"]["accepted_drift"] == "v2 is another scale"
    assert manifest["run"]["accepted_by"]
    assert not list((of.published / "_held").glob("*"))


def test_the_asset_event_says_how_far_the_month_has_moved(start: Start) -> None:
    checks = {"max_quarantined_fraction": 0.1, "drift": {}}
    before = start(run_id="before", checks=checks)
    before.upload.scored = score_all(before)
    assert before.run.run(before.upload).state == "success"
    assert before.run.returned(before.upload)["drift"] is None  # nothing to compare it with
    of = start(FEBRUARY + timedelta(days=28), "manual__1", {"model_version": "v2"}, checks=checks)
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "success"
    manifest = json.loads((of.published / "_manifests" / "month=2013-03.json").read_text())
    (prediction,) = [one for one in manifest["drift"] if one["column"] == "predicted_delay"]
    moved = [one for one in manifest["drift"] if one["verdict"] == "warn"]
    figures = of.run.returned(of.upload)
    assert figures["drift"] == {
        "reference": "2013-02",
        "worst_column": "predicted_delay",
        "worst_psi": prediction["psi"],
        "psi_warns": prediction["psi_warns"],
        "columns_moved": len(moved),
    }
    assert figures["warnings"] == len(manifest["warnings"]) == len(moved) > 0
    assert figures in [event.extra for event in _events(of)]


class Notifier(BaseNotifier):
    """Keeps what it was to tell; the text ``fail`` makes it fail."""

    template_fields = ("text",)
    sent: ClassVar[list[str]] = []

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: object) -> None:
        if self.text == "fail":
            raise ConnectionError("nobody listens")
        self.sent.append(self.text)


def alert(when: str, text: str = "{{ job }} {{ partition }}: {{ problem }}") -> dict[str, object]:
    return {"notifier": f"{__name__}.Notifier", "arguments": {"text": text}, "when": [when]}


@pytest.fixture
def sent() -> list[str]:
    Notifier.sent.clear()
    return Notifier.sent


def test_drift_is_reported_when_it_is_published_and_nobody_has_accepted_it(
    start: Start, sent: list[str]
) -> None:
    drifted = {"max_quarantined_fraction": 0.1, "drift": {"hold": {"PSI": 99}}}
    changes = {"checks": drifted, "alerts": [alert("drift", "fail"), alert("drift")]}
    before = start(run_id="before", **changes)
    before.upload.scored = score_all(before)
    assert before.run.run(before.upload).state == "success"
    assert sent == []
    of = start(FEBRUARY + timedelta(days=28), "manual__1", {"model_version": "v2"}, **changes)
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "success"  # although one notifier fails
    drift = of.run.returned(of.upload)["drift"]
    moved = (
        "1 column has" if drift["columns_moved"] == 1 else f"{drift['columns_moved']} columns have"
    )
    reported = (
        f"small_flights 2013-03: published, but {moved} moved from 2013-02: most of all "
        f"predicted_delay, PSI {drift['worst_psi']:.3f}. `scoring drift small_flights 2013-03` "
        "shows them"
    )
    assert sent == [reported]
    assert of.run.run(of.upload).state == "success"  # done already: reported once
    assert sent == [reported]


def test_drift_that_was_accepted_is_not_reported(start: Start, sent: list[str]) -> None:
    held = {"max_quarantined_fraction": 0.1, "drift": {"hold": {"PSI": 0.25}}}
    changes = {"checks": held, "alerts": [alert("drift")]}
    before = start(run_id="before", **changes)
    before.upload.scored = score_all(before)
    assert before.run.run(before.upload).state == "success"
    of = start(FEBRUARY + timedelta(days=28), "manual__1", {"model_version": "v2"}, **changes)
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "failed"
    with create_session() as session:
        found = XComModel.get_many(
            run_id="manual__1", dag_ids=of.run.dag.dag_id, task_ids="upload", key="held"
        )
        left = XComModel.deserialize_value(session.scalars(found).one())
    assert left.startswith("held: predicted_delay, compared with 2013-02: PSI ")
    assert '`scoring publish small_flights 2013-03 --accept "why"` publishes it' in left
    of.upload.accept_drift = "v2 is another scale"
    assert of.run.run(of.upload).state == "success"
    assert sent == []


def test_what_has_become_stale_is_reported_once(start: Start, data: Path, sent: list[str]) -> None:
    def published(interval_start: datetime, run_id: str) -> None:
        of = start(interval_start, run_id, alerts=[alert("stale")])
        of.upload.scored = score_all(of)
        assert of.run.run(of.upload).state == "success"

    published(FEBRUARY, "manual__2")
    assert sent == []
    shutil.copy(data / "flights/2013-04.parquet", data / "flights/2013-02.parquet")
    published(FEBRUARY.replace(month=3), "manual__3")
    (reported,) = sent
    assert reported.startswith("small_flights 2013-03: published, but 2013-02 became stale: ")
    assert reported.endswith("`scoring plan small_flights` prints what scores them again")
    published(FEBRUARY.replace(month=4), "manual__4")
    assert sent == [reported]
