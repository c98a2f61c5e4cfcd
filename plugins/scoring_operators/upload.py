"""UploadOperator: the staged predictions of a partition are published as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scoring_operators.base import PartitionOperator, told_to_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scoring.manifest import Manifest


class UploadOperator(PartitionOperator):
    """Checks that no row was lost, publishes the partition and writes its manifest.

    Each of the task's ``outlets`` gets an asset event that carries the figures of the manifest.

    :param scored: what the mapped ``ScoreOperator`` returned (``score.output``).  Templated.
    """

    template_fields: Sequence[str] = (*PartitionOperator.template_fields, "scored")

    def __init__(self, *, scored: Sequence[dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scored = scored

    def execute(self, context: Context) -> dict[str, Any]:
        from scoring.score import Scored
        from scoring.upload import in_order, upload

        dag_run = context["dag_run"]
        evidence = {
            "by": "airflow",
            "dag_id": dag_run.dag_id,
            "run_id": dag_run.run_id,
            "try_number": str(context["ti"].try_number),
        }
        with told_to_airflow():
            run = self.partition_run(context)
            # As a slice: Airflow hands mapped results over with one request then, not one for each.
            scored = in_order(Scored.model_validate(s) for s in self.scored[:])
            manifest = upload(run, scored, evidence)
        self.log.info(
            f"{manifest.partition}: {manifest.rows.scored:,} rows published, "
            f"{manifest.rows.quarantined:,} quarantined, model version {manifest.model.version}: "
            f"{manifest.output.uri}"
        )
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = _figures(manifest)
        return _figures(manifest)


def _figures(manifest: Manifest) -> dict[str, Any]:
    """What a reader of the asset's events wants to know, small enough for an event."""
    return {
        "job": manifest.job,
        "partition": manifest.partition,
        "model_version": manifest.model.version,
        "rows_in": manifest.rows.rows_in,
        "rows_scored": manifest.rows.scored,
        "rows_quarantined": manifest.rows.quarantined,
        "output": manifest.output.uri,
        "sha256": manifest.output.sha256,
    }
