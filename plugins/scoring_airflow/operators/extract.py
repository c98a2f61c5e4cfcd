"""ExtractOperator: a partition's source becomes staged shards of rows that may be scored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from scoring.errors import SourceMissingError
from scoring_airflow.connections import aws_conn_id_of
from scoring_airflow.metrics import counted_refusals
from scoring_airflow.operators.base import PartitionOperator, fail_if_permanent
from scoring_airflow.shard_limit import ShardLimit
from scoring_airflow.waiting import Waiting

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scoring.pipeline.context import PartitionContext


class ExtractOperator(PartitionOperator):
    """Reads and checks the partition's rows and stages them.

    Where the source is not there and the job waits for it (``source.wait``), the task is deferred
    to the triggerer and takes no worker.  When its time is over it fails, without a retry.

    Returns a list with one small dict a shard (``number``, ``uri``, ``rows``, ``sha256``), for
    ``ScoreOperator.partial(…).expand(shard=extract.output)``.

    :param model_version: scores with this version whatever the job's policy says; empty or None
        for the policy.  Templated.
    """

    template_fields: Sequence[str] = (*PartitionOperator.template_fields, "model_version")

    def __init__(self, *, model_version: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_version = model_version

    def execute(self, context: Context) -> list[dict[str, Any]]:
        return self._extract(context, None)

    def resume(self, context: Context, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Resume after the ``SourceTrigger`` has fired; check the source again."""
        return self._extract(context, Waiting.of_event(event))

    def _extract(self, context: Context, waiting: Waiting | None) -> list[dict[str, Any]]:
        from scoring.pipeline.challengers import find_challengers
        from scoring.pipeline.extract import extract

        with fail_if_permanent(context):
            attempt = self.partition_context(context)
            model = attempt.model_file(self.model_version or None)
            try:
                with counted_refusals(attempt.job.name):
                    challengers = find_challengers(attempt, model)
                    limit = ShardLimit(attempt.job)
                    extraction = extract(attempt, model, limit.on_shard, limit.on_rows, challengers)
            except SourceMissingError as missing:
                self._wait_for(attempt, missing, waiting)
                raise
        self.log.info(
            f"{attempt.partition.key}: {extraction.rows_in:,} rows came in from "
            f"{extraction.source.uri}; {extraction.tally.rows_quarantined:,} quarantined, "
            f"{extraction.tally.rows_left_out:,} left out; {len(extraction.shards)} shards to score with model version "
            f"{extraction.model.version}\n"
            f"{extraction.tally.summary()}"
        )
        return [shard.model_dump() for shard in extraction.shards]

    def _wait_for(
        self, attempt: PartitionContext, missing: SourceMissingError, waiting: Waiting | None
    ) -> None:
        """Defer this task if the job waits for its source."""
        from scoring_airflow.triggers.source import SourceTrigger

        wait, template, now = attempt.job.source.wait, attempt.job.source.uri, datetime.now(UTC)
        if wait is None or template is None:
            return
        if waiting is None:
            waiting = Waiting(now, now + timedelta(hours=wait.timeout_hours))
        if now >= waiting.until:
            raise AirflowFailException(f"{missing}; {waiting.summary(now)}") from None
        uri = attempt.roots.expand(template, attempt.partition)
        self.log.info(
            f"{uri} is not there yet. Checking every {wait.poke_interval_seconds:g} s, until "
            f"{waiting.until:%Y-%m-%d %H:%M} UTC; no worker is occupied meanwhile"
        )
        self.defer(
            trigger=SourceTrigger(
                uri=missing.pattern or uri,
                aws_conn_id=aws_conn_id_of(attempt.job),
                poke_interval_seconds=wait.poke_interval_seconds,
                since=waiting.since,
                until=waiting.until,
            ),
            method_name="resume",
        )
