"""What the tasks send by Airflow's metrics, as Airflow's own OpenTelemetry logger records it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk._shared.observability.metrics.otel_logger import SafeOtelLogger
from airflow.sdk.observability.stats import Stats
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.plugins.conftest import FEBRUARY, Start
from tests.plugins.conftest import scored as score_all

Points = dict[tuple[str, str | None, str | None], float]
V1, V2 = ("small_flights", "v1"), ("small_flights", "v2")


@pytest.fixture
def sent() -> Iterator[Callable[[], Points]]:
    """What was sent, by its name, and by the job and model version of its tags."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    Stats.initialize(factory=lambda: SafeOtelLogger(provider), export_legacy_names=True)

    def points() -> Points:
        data = reader.get_metrics_data()
        return {
            (metric.name, point.attributes.get("job"), point.attributes.get("model_version")): (
                point.value
            )
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name.startswith("airflow.scoring.")
            for point in metric.data.data_points
        }

    yield points
    Stats.initialize(factory=NoStatsLogger, export_legacy_names=True)
    provider.shutdown()


def test_a_publication_is_gauges_of_its_job(start: Start, sent: Callable[[], Points]) -> None:
    before = datetime.now(UTC)
    of = start(run_id="manual__1")
    of.upload.scored = score_all(of)
    assert sent() == {}  # nothing is published yet
    assert of.run.run(of.upload).state == "success"
    found = sent()
    expected = {
        "rows_in": 2500,
        "rows_scored": 2450,
        "rows_quarantined": 50,
        "rows_left_out": 0,
        "quarantined_fraction": 0.02,
        "warnings": 0,
    }
    assert {name: found["airflow.scoring." + name, *V1] for name in expected} == expected
    since_march = before - datetime(2013, 3, 1, tzinfo=UTC)
    assert found["airflow.scoring.freshness_seconds", *V1] >= since_march.total_seconds()
    for step in ("extract", "score", "upload"):
        assert found[f"airflow.scoring.{step}_seconds", *V1] > 0
    # Where nothing is compared there is no figure of drift.
    assert ("airflow.scoring.worst_psi", *V1) not in found
    # For a StatsD without tags, each name again, with the job in it.
    names = {name for name, job, _ in found if job}
    assert {name for name, job, _ in found if not job} == {f"{n}.small_flights" for n in names}
    assert found["airflow.scoring.rows_in.small_flights", None, None] == 2500


def test_drift_is_two_gauges_and_a_held_month_counts(
    start: Start, sent: Callable[[], Points]
) -> None:
    checks = {"max_quarantined_fraction": 0.1, "drift": {"hold": {"PSI": 0.25}}}
    before = start(run_id="before", checks=checks)
    before.upload.scored = score_all(before)
    assert before.run.run(before.upload).state == "success"
    march = FEBRUARY + timedelta(days=28)
    of = start(march, "manual__1", extract={"model_version": "v2"}, checks=checks)
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "failed"
    assert sent()["airflow.scoring.held", "small_flights", None] == 1
    assert ("airflow.scoring.rows_in", *V2) not in sent()
    of.upload.accept_drift = "v2 is another scale"
    assert of.run.run(of.upload).state == "success"
    figures = of.run.returned(of.upload)["drift"]
    assert sent()["airflow.scoring.worst_psi", *V2] == figures["worst_psi"] > 0.25
    assert sent()["airflow.scoring.columns_moved", *V2] == figures["columns_moved"] > 0
    assert sent()["airflow.scoring.held", "small_flights", None] == 1


def test_a_check_that_fails_counts(start: Start, sent: Callable[[], Points]) -> None:
    of = start(run_id="manual__1", checks={"max_quarantined_fraction": 0.0})
    assert of.run.run(of.extract).state == "failed"
    assert sent() == {
        ("airflow.scoring.checks_failed", "small_flights", None): 1,
        ("airflow.scoring.checks_failed.small_flights", None, None): 1,
    }


def test_names_with_the_job_are_sent_as_airflow_sends_them(
    start: Start, sent: Callable[[], Points], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", "False")
    of = start(run_id="manual__1", checks={"max_quarantined_fraction": 0.0})
    assert of.run.run(of.extract).state == "failed"
    assert set(sent()) == {("airflow.scoring.checks_failed", "small_flights", None)}


def test_metrics_that_cannot_be_sent_fail_no_publication(start: Start) -> None:
    class Broken(NoStatsLogger):
        @classmethod
        def gauge(cls, stat, *args, **kwargs) -> None:
            raise ConnectionRefusedError(f"nobody takes {stat}")

    Stats.initialize(factory=Broken, export_legacy_names=True)
    try:
        of = start(run_id="manual__1")
        of.upload.scored = score_all(of)
        assert of.run.run(of.upload).state == "success"
    finally:
        Stats.initialize(factory=NoStatsLogger, export_legacy_names=True)
    assert (of.published / "month=2013-02" / "predictions.parquet").exists()


def test_an_upload_that_has_nothing_to_do_sends_nothing(
    start: Start, sent: Callable[[], Points]
) -> None:
    of = start(run_id="manual__1")
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "success"
    before = sent()
    assert before != {}
    assert of.run.run(of.upload).state == "success"  # published by its first try
    assert sent() == before  # also the seconds since the end of the month


def test_an_evaluation_is_gauges_of_its_job(start: Start, sent: Callable[[], Points]) -> None:
    truth = {"source": {"uri": "{data}/flights/{partition}.parquet"}, "column": "delay"}
    of = start(run_id="manual__1", actuals=truth)
    of.upload.scored = score_all(of)
    assert of.run.run(of.upload).state == "success"
    assert of.run.run(of.evaluate).state == "success"
    errors = [i % 60 for i in range(1, 2501) if i % 50]  # v1 predicts twice the delay
    found = sent()
    assert found["airflow.scoring.rows_with_actual", *V1] == 2450
    assert found["airflow.scoring.bias", *V1] == pytest.approx(sum(errors) / len(errors))
    assert found["airflow.scoring.bias.small_flights", None, None] == pytest.approx(
        sum(errors) / len(errors)
    )
    assert "airflow.scoring.rmse" in {name for name, _, _ in found}
