from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session

from tests.plugins.conftest import Start
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
        "output": str(output),
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
    }
    (event,) = _events(scored)
    assert event.extra == figures
    assert scored.run.returned(scored.upload) == figures


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
