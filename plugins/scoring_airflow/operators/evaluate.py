"""Operators that compare published predictions with their actuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import BaseOperator

from scoring_airflow.connections import airflow_connections, aws_conn_id_of
from scoring_airflow.operators.base import PartitionOperator, fail_if_permanent

if TYPE_CHECKING:
    from airflow.sdk import Context


class FindActualsOperator(BaseOperator):  # type: ignore[misc]  # mypy does not read Airflow
    """Returns the keys of the published partitions whose actuals have arrived or changed.

    :param job_file: path of the job file.
    :param partition: the key of the one partition to evaluate; by default the one in the run's conf.
        Empty or None for all that are due.  Templated.
    """

    template_fields: Sequence[str] = ("job_file", "partition")

    def __init__(
        self,
        *,
        job_file: str,
        partition: str | None = "{{ (dag_run.conf or {}).get('partition') or '' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_file = job_file
        self.partition = partition

    def execute(self, context: Context) -> list[str]:
        from scoring.job.loader import load_job
        from scoring.pipeline.context import PartitionContext
        from scoring.pipeline.evaluations_due import evaluations_due

        with fail_if_permanent(context):
            job_file = load_job(self.job_file)
            job = job_file.job
            if self.partition:
                return [job.partition_to_score(self.partition).key]
            every = PartitionContext(
                job_file,
                job.first_partition,
                job_file.roots(),
                "evaluate",
                airflow_connections(aws_conn_id_of(job), job.run.mlflow_conn_id),
            )
            found = [p.key for p in evaluations_due(every, context["dag_run"].run_after)]
        most = conf.getint("core", "max_map_length", fallback=1024)
        if len(found) > most:
            self.log.info(
                f"{len(found):,} partitions are due; this run evaluates the last {most:,} of them, "
                "which is all that Airflow lets a task be mapped over (core.max_map_length)"
            )
        return found[-most:]


class EvaluateOperator(PartitionOperator):
    """Compares a published partition with its actuals, and stores the figures beside its manifest.

    Returns the figures.  Map it over the keys that ``FindActualsOperator`` returned.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from scoring.pipeline.evaluate import evaluate, evaluate_challengers
        from scoring_airflow.metrics import send_evaluated

        with fail_if_permanent(context):
            attempt = self.partition_context(context)
            found, challengers = evaluate(attempt), evaluate_challengers(attempt)
        for one in (found, *challengers):
            shown = ", ".join(
                f"{name} {value:.5g}" for name, value in one.figures.items() if value is not None
            )
            self.log.info(
                f"{one.partition}, {'challenger' if one.challenger else 'model version'} "
                f"{one.model_version}: {one.rows.with_actual:,} of {one.rows.published:,} rows have an "
                f"actual; {shown or 'no figures'}"
            )
        send_evaluated(found)
        if found.warning:
            self.log.warning(f"{found.partition}: {found.warning}")
        return {
            "partition": found.partition,
            "model_version": found.model_version,
            "rows": found.rows.with_actual,
            **found.figures,
        }
