"""Step 2 of 3: a staged shard of rows becomes a staged table of predictions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from scoring.arrow.columns import constant
from scoring.contract import quarantine
from scoring.engine import Predictions, check_model, no_predictions, score_table
from scoring.errors import ScorerError
from scoring.job.columns import ROW
from scoring.models.base import Model, ModelFile
from scoring.models.environment.model import EnvironmentModel
from scoring.models.features import feature_warnings
from scoring.models.prepare import prepare_model
from scoring.models.trees.attach import trees_of
from scoring.models.user_scorer import UserScorer
from scoring.pipeline.challengers import OWN_ERRORS, challenger_context
from scoring.pipeline.columns import in_types_of
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.cpus import limited_threads
from scoring.pipeline.handover import Scored
from scoring.pipeline.staging import Staged, read_staged, staged_schema, staged_writer

_WITH_SCORER = (UserScorer, EnvironmentModel)


def score(
    context: PartitionContext,
    shard: Staged,
    file: ModelFile,
    threads: int = 1,
    challengers: Mapping[str, ModelFile] = MappingProxyType({}),
) -> Scored:
    """Stage the predictions of ``shard`` by ``file``, and beside them those of ``challengers``.

    What is wrong with a challenger is in the result. Raises ModelError and ScorerError, and others for
    what time may cure; the shard can be scored again at any time.
    """
    scored = _score_with(context, shard, file, threads)
    found: dict[str, Scored] = {}
    errors: dict[str, str] = {}
    for version, challenger in challengers.items():
        beside = challenger_context(context, version)
        try:
            found[version] = _score_with(beside, shard, challenger, threads)
        except OWN_ERRORS as error:
            errors[version] = str(error)
    return scored.model_copy(update={"challengers": found, "challenger_errors": errors})


def _score_with(context: PartitionContext, shard: Staged, file: ModelFile, threads: int) -> Scored:
    """Stage the predictions of ``shard``, row for row in its order.

    ``threads`` is the number of OpenMP threads, such as gradient boosting's, if ``run.threads`` in
    the job does not say it.

    The staged columns are the row ids, the outputs, the kept columns, ``model_version`` and
    ``partition``.  A row with an output that is null or infinite is quarantined
    (``null_prediction``, ``infinite_prediction``).
    """
    started, context = time.monotonic(), context.with_inputs_of(file)
    threads = context.job.run.threads or threads
    with limited_threads(threads):
        model = checked_model(context, file, threads)
        predictions, quarantined, left_out, with_nulls = _score_batches(context, shard, model, file)
    return Scored(
        number=shard.number,
        predictions=predictions,
        quarantine=quarantined,
        left_out=left_out,
        runtime_versions=model.runtime_versions,
        scorer_sha256=model.scorer_sha256 if isinstance(model, _WITH_SCORER) else None,
        environment=model.environment if isinstance(model, EnvironmentModel) else {},
        trees=trees_of(model),
        warnings=feature_warnings(model, list(context.job.inputs), with_nulls),
        seconds=time.monotonic() - started,
    )


def checked_model(context: PartitionContext, file: ModelFile, threads: int = 1) -> Model:
    """Return the model in ``file``, kept for the next call in this process, with the job's own
    scorer.

    Raises ModelError and ScorerError for all that can be wrong with them before any row is seen.
    """
    model = prepare_model(context.job_file, file, context.connections, threads)
    check_model(model, context.job)
    return model


def _score_batches(
    context: PartitionContext, shard: Staged, model: Model, file: ModelFile
) -> tuple[Staged, Staged | None, Staged | None, set[str]]:
    """Return the staged predictions of ``shard``, its quarantined and its left-out rows (None:
    none), and the inputs with nulls.
    """
    schema: pa.Schema | None = None
    with_nulls: set[str] = set()
    # Named by the shard's digest: an attempt at a shard that was replaced meanwhile may end last.
    of_shard, storage = shard.sha256[:8], context.storage
    uri = context.staged(f"predictions-{of_shard}", shard.number)
    rejected_uri = context.staged(f"unscored-{of_shard}", shard.number)
    left_out_uri = context.staged(f"left_out-{of_shard}", shard.number)
    with (
        staged_writer(shard.number, uri, storage) as writer,
        staged_writer(shard.number, rejected_uri, storage) as quarantined,
        staged_writer(shard.number, left_out_uri, storage) as left_out,
    ):
        for batch in read_staged(shard, storage):
            rows = batch.column(ROW).to_numpy()
            with_nulls |= {name for name in context.job.inputs if batch.column(name).null_count}
            found = _score_batch(context, batch, rows, model)
            ids, key = batch.select(context.job.leading_columns), context.partition.key
            if found.rejected.num_rows:
                quarantined.write(quarantine.of_rejected(ids, rows, found.rejected, key))
            if found.left_out.num_rows:
                at, reasons = found.left_out.column("position"), found.left_out.column("reason")
                left = quarantine.of_left_out(
                    ids.take(at), rows[at.to_numpy()], reasons.to_pylist(), key
                )
                left_out.write(left)
            table = _with_added_columns(found.table, file.version, context.partition.key)
            if table.num_rows:
                schema = schema or table.schema
                writer.write(in_types_of(schema, table, context.name))
        if schema is None:  # no good row, but columns all the same
            table = no_predictions(staged_schema(shard, storage), model, context.job)
            writer.write(_with_added_columns(table, file.version, context.partition.key))
        staged = writer.close()
        assert staged is not None
        return staged, quarantined.close(), left_out.close(), with_nulls


def _score_batch(
    context: PartitionContext,
    batch: pa.Table,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    model: Model,
) -> Predictions:
    try:
        return score_table(batch, model, context.job)
    except ScorerError as error:
        where = f"{context.name}, rows {rows[0]:,} to {rows[-1]:,}"
        located = ScorerError(f"{where}: {error}")
        located.frames, located.traceback = error.frames, error.traceback
        raise located from error.__cause__


def _with_added_columns(table: pa.Table, version: str, partition: str) -> pa.Table:
    """Return ``table`` and the columns that every published table has."""
    table = table.append_column("model_version", constant(version, table.num_rows))
    return table.append_column("partition", constant(partition, table.num_rows))
