"""The links of the upload task: to the partition's page, the published predictions, the quarantined rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from scoring_airflow.web import urls

if TYPE_CHECKING:
    from scoring.destinations.manifest import Manifest


class PublishedLink(BaseOperatorLink):  # type: ignore[misc]  # mypy does not read Airflow
    """A link to what the task has published; none while it has published nothing.

    A browser opens neither ``s3://`` nor ``file://``, and Airflow 3.3 leaves such links out: there,
    the link leads to the task's XCom page, which shows the URI as text to copy.
    """

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        manifest = getattr(operator, "published", None)
        uri = self.uri_of(manifest) if manifest else None
        if uri is None:
            return ""
        return uri if uri.startswith(("http://", "https://")) else _xcom_page(ti_key)

    def uri_of(self, manifest: Manifest) -> str | None:
        raise NotImplementedError


class PredictionsLink(PublishedLink):
    name = "Predictions"

    def uri_of(self, manifest: Manifest) -> str | None:
        return manifest.output.uri


class QuarantineLink(PublishedLink):
    """None for a partition without quarantined rows."""

    name = "Quarantine"

    def uri_of(self, manifest: Manifest) -> str | None:
        return manifest.quarantine.uri if manifest.quarantine else None


class PartitionLink(BaseOperatorLink):  # type: ignore[misc]  # mypy does not read Airflow
    """A link to the page of the partition that the run scores.

    By the run, and not by what the task has published: the page says as well why nothing is.
    """

    name = "Partition"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        return _base_url() + urls.run_path(ti_key.dag_id, ti_key.run_id)


def _xcom_page(ti: Any) -> str:
    base = _base_url()
    run, task = quote(ti.run_id, safe=""), quote(ti.task_id, safe="")
    return f"{base}/dags/{quote(ti.dag_id, safe='')}/runs/{run}/tasks/{task}/xcom"


def _base_url() -> str:
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
