"""ScoreOperator: one staged shard of rows becomes a staged table of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scoring_airflow.concurrency import tasks_at_once
from scoring_airflow.operators.base import (
    PartitionOperator,
    clear_command,
    fail_if_permanent,
    triggered_by,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class ScoreOperator(PartitionOperator):
    """Loads the model and predicts one shard; map it over the shards that extract returned.

    In a run that has published already, it does nothing: the rows are no longer staged.

    :param shard: one of the dicts that ``ExtractOperator`` returned.  Templated.
    """

    template_fields: Sequence[str] = (*PartitionOperator.template_fields, "shard")

    def __init__(self, *, shard: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self._scores = ""

    @property
    def label(self) -> str:
        """What the task scores, for ``map_index_template``; partition and model once it has begun."""
        return f"{self._scores}shard {self.shard['number']}: {self.shard['rows']} rows"

    def execute(self, context: Context) -> dict[str, Any] | None:
        from scoring.errors import NotStagedError
        from scoring.pipeline.cpus import threads_of_each
        from scoring.pipeline.handover import load_extraction, published_before
        from scoring.pipeline.score import score
        from scoring.pipeline.staging import Staged

        with fail_if_permanent(context):
            attempt = self.partition_context(context)
            try:
                extraction = load_extraction(attempt)
                model = extraction.model
            except NotStagedError:
                asked = self.asked_model(context, attempt)
                done = published_before(attempt, triggered_by(context), asked)
                if done is None:
                    raise
                self.log.info(
                    f"{attempt.partition.key}: nothing to do. This run has published it with model "
                    f"version {done.model.version}, and the rows are no longer staged. To score "
                    "them again, clear the run from its first task: "
                    f"{clear_command(context) or 'extract'}"
                )
                return None
            self._scores = f"{attempt.partition.key} {model.version}, "
            threads = threads_of_each(tasks_at_once(self.executor))
            shard, challengers = Staged.model_validate(self.shard), extraction.challengers.files
            scored = score(attempt, shard, model, threads, challengers)
        rows = scored.predictions.rows
        self.log.info(
            f"{attempt.partition.key}, shard {scored.number}: {rows:,} rows scored with model version "
            f"{model.version} in {scored.seconds:.2f} s"
        )
        for version, why in scored.challenger_errors.items():
            self.log.warning(f"{attempt.partition.key}: the challenger {version} failed: {why}")
        return scored.model_dump()
