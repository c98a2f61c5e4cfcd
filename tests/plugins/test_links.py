"""Where the links of the upload task lead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from scoring_airflow import UploadOperator
from scoring_airflow.links import PartitionLink, PredictionsLink, QuarantineLink

TASK = SimpleNamespace(dag_id="flights", run_id="scheduled__2013-05__x+00:00", task_id="upload")
PAGE = "/dags/flights/runs/scheduled__2013-05__x%2B00%3A00/tasks/upload/xcom"


def _operator(output: str, quarantine: str | None) -> Any:
    manifest = SimpleNamespace(
        output=SimpleNamespace(uri=output),
        quarantine=SimpleNamespace(uri=quarantine) if quarantine else None,
    )
    return SimpleNamespace(published=manifest)


def _links(operator: Any) -> list[str]:
    return [link.get_link(operator, ti_key=TASK) for link in (PredictionsLink(), QuarantineLink())]


@pytest.mark.parametrize("scheme", ["s3://lake", "file:///data", "/data"])
def test_what_a_browser_cannot_open_leads_to_the_page_that_shows_it(scheme: str) -> None:
    found = _links(_operator(f"{scheme}/p.parquet", f"{scheme}/q.parquet"))
    assert [link.endswith(PAGE) for link in found] == [True, True]


def test_a_web_address_is_the_link() -> None:
    assert _links(_operator("https://x/p", "http://x/q")) == ["https://x/p", "http://x/q"]


def test_there_is_no_link_to_what_is_not_there() -> None:
    assert _links(_operator("https://x/p", None)) == ["https://x/p", ""]
    assert _links(SimpleNamespace(published=None)) == ["", ""]


def test_the_page_of_the_partition_is_there_whether_it_is_published_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    for operator in (_operator("https://x/p", None), SimpleNamespace(published=None)):
        link = PartitionLink().get_link(operator, ti_key=TASK)
        assert link == (
            "https://example.com/airflow/scoring/runs/flights/scheduled__2013-05__x%2B00%3A00"
        )


def test_the_upload_task_has_all_of_them() -> None:
    names = [link.name for link in UploadOperator.operator_extra_links]
    assert names == ["Partition", "Predictions", "Quarantine"]
