"""How wrong the predictions of a published partition were: they are joined with their actuals.

Published rows whose keys are the same (``scoring.pipeline.joins``) are counted as ambiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from scoring.arrow.contract import contract_type
from scoring.destinations.manifest import Manifest
from scoring.errors import PublicationError, SourceColumnsError
from scoring.job.actuals import ActualsConfig, Task
from scoring.job.inputs import ColumnType
from scoring.monitoring.accuracy import classification, regression
from scoring.monitoring.evaluation import EvaluatedRows, Evaluation, parse_evaluation
from scoring.pipeline.actuals import Actuals
from scoring.pipeline.challengers import challenger_context
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.joins import join_connection, joined_columns, keyed, load
from scoring.pipeline.published_file import PublishedPredictions, published_manifest
from scoring.sources.base import SourceFileRecord, SourceRecord
from scoring.storage.base import write

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY_MB = 512
"""For sorts over all pairs, which an AUC needs."""


def evaluate(context: PartitionContext) -> Evaluation:
    """Evaluate what is published for the partition, store the result and return it.

    Raises JobError for a job without ``actuals``, PublicationError where nothing is published,
    SourceMissingError where the actuals are not there, and SourceError where they cannot be used.
    What is published stays as it is.
    """
    config = context.job.actuals
    if config is None:
        raise context.job_file.error((), "has no actuals; add the section `actuals` to evaluate it")
    manifest = published_manifest(context)
    found = compute_evaluation(context, config, manifest)
    again = context.publisher.published(context.partition)
    if again is None or again.identity != manifest.identity:
        raise PublicationError(
            f"{context.name} was published again while it was evaluated; evaluate it again"
        )
    write(context.storage, evaluation_uri(context), found.model_dump_json(indent=1).encode())
    return found


def evaluate_challengers(context: PartitionContext) -> list[Evaluation]:
    """Evaluate what the challengers of the published partition have made of it, each for itself.

    Those that have failed, or have made something else since, are left out. Raises as ``evaluate``.
    """
    records = {one.version: one.output for one in published_manifest(context).challengers}
    found = []
    for version in context.job.challengers:
        beside = challenger_context(context, version)
        manifest = beside.publisher.published(context.partition)
        if manifest is not None and records.get(manifest.model.version) == manifest.output:
            found.append(evaluate(beside).model_copy(update={"challenger": True}))
    return found


def compute_evaluation(
    context: PartitionContext, config: ActualsConfig, manifest: Manifest
) -> Evaluation:
    """Return the evaluation of what ``manifest`` describes, without storing it; raises as
    ``evaluate`` does.
    """
    predictions = PublishedPredictions(context, manifest)
    task = task_of(context, config, predictions.schema)
    actuals = Actuals(context, config, predictions.schema, _truth_type(context, task, predictions))
    with join_connection("evaluate", _MEMORY_MB) as connection:
        tables = predictions.batches(joined_columns(context.job))
        load(connection, "predictions", (keyed(table, context.job) for table in tables))
        load(connection, "actuals", actuals.batches())
        record = actuals.record()
        _check_places(context, manifest, record)
        rows = _join(connection, actuals.tally.quarantined)
        return Evaluation(
            job=context.job.name,
            partition=context.partition.key,
            model_version=manifest.model.version,
            predictions_sha256=manifest.output.sha256,
            actuals=record,
            rows=rows,
            regression=regression(connection) if task == "regression" else None,
            classification=(
                classification(connection, context.job.output.probabilities)
                if task == "classification"
                else None
            ),
        )


def evaluation_uri(context: PartitionContext) -> str:
    return f"{context.publisher.evaluations}/{context.partition.path}.json"


def read_evaluation(context: PartitionContext) -> Evaluation | None:
    """Return the last evaluation of the partition; None if there is none."""
    uri = evaluation_uri(context)
    data = context.storage.read(uri)
    return parse_evaluation(data, uri) if data is not None else None


def task_of(context: PartitionContext, config: ActualsConfig, published: pa.Schema) -> Task:
    """Return which figures are computed: as the job says, else as the predictions are."""
    if config.task is not None:
        return config.task
    kind = published.field(context.job.output.prediction).type
    if context.job.output.probabilities or pa.types.is_string(kind) or pa.types.is_boolean(kind):
        return "classification"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "regression"
    raise context.job_file.error(
        ("actuals", "task"),
        f"missing; the predictions are {kind}, which can be numbers or classes: write regression or "
        "classification",
    )


def _truth_type(
    context: PartitionContext, task: Task, predictions: PublishedPredictions
) -> ColumnType:
    if task == "regression":
        return "float64"
    kind = predictions.schema.field(context.job.output.prediction).type
    found = contract_type(kind)
    if found is None:
        raise context.job_file.error(("actuals",), f"predictions of type {kind} are not classes")
    return found


def _join(connection: DuckDBPyConnection, rejected: dict[str, int]) -> EvaluatedRows:
    """Make the table ``pairs`` of rows with one true value; return how many rows have which.

    A row of which the actuals have the same value twice has one.
    """
    connection.execute(
        "CREATE TABLE truth AS SELECT key, min(actual) AS actual, "
        "min(actual) IS DISTINCT FROM max(actual) AS ambiguous FROM actuals GROUP BY key"
    )
    connection.execute(
        "UPDATE truth SET ambiguous = true WHERE key IN "
        "(SELECT key FROM predictions GROUP BY key HAVING count(*) > 1)"
    )
    connection.execute(
        "CREATE TABLE pairs AS SELECT predictions.* EXCLUDE (key), truth.actual "
        "FROM predictions JOIN truth USING (key) WHERE NOT ambiguous AND actual IS NOT NULL"
    )
    found = connection.execute(
        "SELECT (SELECT count(*) FROM predictions), (SELECT count(*) FROM pairs), "
        "(SELECT count(*) FROM predictions SEMI JOIN (FROM truth WHERE ambiguous) USING (key)), "
        "(SELECT count(*) FROM truth ANTI JOIN predictions USING (key))"
    ).fetchone()
    assert found is not None
    published, pairs, ambiguous, others = found
    return EvaluatedRows(
        published=published,
        with_actual=pairs,
        without_actual=published - pairs - ambiguous,
        ambiguous=ambiguous,
        without_prediction=others,
        rejected=dict(sorted(rejected.items())),
    )


def _check_places(context: PartitionContext, manifest: Manifest, record: SourceRecord) -> None:
    """Raise SourceColumnsError where rows are known by their place and the files are others now."""
    if context.job.row_id != "row_number":
        return
    if _digests(record.files) != _digests(manifest.source.files):
        raise SourceColumnsError(
            f"{record.uri} has changed since {context.name} was scored, and row_id: row_number knows "
            "a row by its place only. Score the partition again, or give the rows a key"
        )


def _digests(files: Sequence[SourceFileRecord]) -> list[tuple[int, str | None, str | None]]:
    return [(file.bytes, file.sha256, file.etag) for file in files]
