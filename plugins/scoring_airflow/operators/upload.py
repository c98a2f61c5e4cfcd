"""UploadOperator: the staged predictions of a partition are published as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from scoring.errors import HeldError
from scoring_airflow.links import PartitionLink, PredictionsLink, QuarantineLink
from scoring_airflow.metrics import counted_refusals, send_published
from scoring_airflow.notifications import HELD, report_publication
from scoring_airflow.operators.base import PartitionOperator, fail_if_permanent, triggered_by

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scoring.destinations.manifest import Manifest


class UploadOperator(PartitionOperator):
    """Checks that no row was lost, publishes the partition and writes its manifest.

    Each of the task's ``outlets`` gets an asset event that carries the figures of the manifest.

    :param scored: what the mapped ``ScoreOperator`` returned (``score.output``).  Templated.
    :param accept_drift: why the partition is published although it has drifted beyond
        ``checks.drift.hold``; empty or None holds it.  Templated.
    :param accept_changes: why it is published although it differs from what is published by more
        than ``checks.max_changed_fraction`` or ``checks.max_abs_change``; likewise.  Templated.
    :param replace_newer: publish even where another run has published the partition since this run
        read its source: true or false, or a text such as ``"True"``.  Templated.
    """

    template_fields: Sequence[str] = (
        *PartitionOperator.template_fields,
        "scored",
        "replace_newer",
        "accept_drift",
        "accept_changes",
    )
    operator_extra_links = (PartitionLink(), PredictionsLink(), QuarantineLink())

    def __init__(
        self,
        *,
        scored: Sequence[dict[str, Any]],
        replace_newer: bool | str = False,
        accept_drift: str | None = None,
        accept_changes: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scored = scored
        self.replace_newer = replace_newer
        self.accept_drift = accept_drift
        self.accept_changes = accept_changes
        self.published: Manifest | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        from scoring.pipeline.handover import Scored
        from scoring.pipeline.hold import accepted
        from scoring.pipeline.publish import in_order, publish

        run = accepted(
            triggered_by(context),
            _triggering_user(context),
            drift=self.accept_drift or "",
            changes=self.accept_changes or "",
        )
        with fail_if_permanent(context):
            attempt = self.partition_context(context)
            # As a slice: Airflow hands mapped results over with one request then, not one for each.
            scored = in_order(Scored.model_validate(s) for s in self.scored[:])
            with counted_refusals(attempt.job.name), _reason_left(context):
                manifest = publish(
                    attempt,
                    scored,
                    run,
                    replace_newer=self._replaces_newer(),
                    asked_model=self.asked_model(context, attempt),
                )
        if not manifest.is_of(run):
            self.log.info(
                f"nothing to do: {manifest.publisher} has published the same rows, scored by the "
                "same model for the same job file, since this run read them"
            )
        elif manifest.run.get("try_number") != run["try_number"]:
            self.log.info("nothing to do: an earlier try of this run has published it")
        else:
            now = datetime.now(UTC)
            send_published(manifest, now)
            report_publication(attempt, manifest, run["run_id"], now)
        self.log.info(
            f"{manifest.partition}: {manifest.rows.scored:,} rows published, "
            f"{manifest.rows.quarantined:,} quarantined, {manifest.rows.left_out:,} left out, "
            f"model version {manifest.model.version}: {manifest.output.uri}"
        )
        self.published = manifest
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = _figures(manifest)
        return _figures(manifest)

    def _replaces_newer(self) -> bool:
        """Return what the run's conf or the Dag's author says, rendered as text."""
        text = str(self.replace_newer).strip().lower()
        if text not in ("true", "false"):
            raise AirflowFailException(
                f"replace_newer is {self.replace_newer!r}; it must be true or false"
            )
        return text == "true"


@contextmanager
def _reason_left(context: Context) -> Iterator[None]:
    """Leave why a partition is held for the alert of the run, which the Dag processor sends."""
    try:
        yield
    except HeldError as error:
        context["ti"].xcom_push(HELD, error.summary)
        raise


def _triggering_user(context: Context) -> str:
    """Return who started the run; a scheduled run or a backfill may have nobody."""
    return getattr(context["dag_run"], "triggering_user_name", None) or "airflow"


def _figures(manifest: Manifest) -> dict[str, Any]:
    """Return what a reader of the asset's events wants to know, small enough for an event."""
    from scoring.monitoring.judgement import drift_summary

    drift = drift_summary(manifest)
    return {
        "job": manifest.job,
        "partition": manifest.partition,
        "model_version": manifest.model.version,
        "rows_in": manifest.rows.rows_in,
        "rows_scored": manifest.rows.scored,
        "rows_quarantined": manifest.rows.quarantined,
        "rows_left_out": manifest.rows.left_out,
        "output": manifest.output.uri,
        "sha256": manifest.output.sha256,
        "quarantine": manifest.quarantine.uri if manifest.quarantine else None,
        "warnings": len(manifest.warnings),
        "drift": asdict(drift) if drift else None,
    }
