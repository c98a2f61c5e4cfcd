"""ExtractOperator: a partition's source becomes staged shards of rows that may be scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from scoring_operators.base import PartitionOperator, told_to_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context


class ExtractOperator(PartitionOperator):
    """Reads and checks the partition's rows and stages them.

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
        from scoring.extract import extract
        from scoring.model import choose_model

        with told_to_airflow():
            run = self.partition_run(context)
            extraction = extract(run, choose_model(run, self.model_version or None))
        self.log.info(
            f"{run.partition.key}: {extraction.rows_in:,} rows came in from {extraction.source.uri}; "
            f"{extraction.accounts.rows_quarantined:,} are set aside; {len(extraction.shards)} shards "
            f"to score with model version {extraction.model.version}\n{extraction.accounts.told()}"
        )
        limit = conf.getint("core", "max_map_length")
        if len(extraction.shards) > limit:
            needed = -(-extraction.rows_in // limit)
            raise AirflowFailException(
                f"{len(extraction.shards)} shards are more than Airflow's core.max_map_length, "
                f"{limit}; set run.shard_rows in {self.job_file} to at least {needed}"
            )
        return [shard.model_dump() for shard in extraction.shards]
