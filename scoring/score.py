"""Step 2 of 3: a staged shard of rows becomes a staged table of predictions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from scoring import columns, quarantine
from scoring.connections import Connections
from scoring.contract import Rule
from scoring.errors import ScorerError
from scoring.extract import ROW
from scoring.job import Job
from scoring.model import LoadedModel, ModelFile, load_model
from scoring.run import PartitionRun
from scoring.scorer import Scorer, read_scorer, scorer_for
from scoring.staging import Staged, read_staged, staged_writer


class Scored(BaseModel):
    """The predictions of one shard; ``quarantine`` holds its rows that got no prediction.

    ``predictions`` is None for a shard without rows that could be scored.  ``scorer_sha256`` is the
    digest of the job's own scorer as it was run; None for a job without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    predictions: Staged | None
    quarantine: Staged | None
    saved_with_sklearn: str | None
    scorer_sha256: str | None
    seconds: float


def score(run: PartitionRun, shard: Staged, model: ModelFile, threads: int = 1) -> Scored:
    """Stages the predictions of ``shard``, row for row in its order.

    ``threads`` is the number of OpenMP threads, such as gradient boosting's, if ``run.threads`` in the job
    does not say it.  BLAS has one: how many share a sum of floats changes its last bits.

    The staged columns are the row ids, the outputs, the kept columns, ``model_version`` and
    ``partition``.  A row with an output that is null or infinite is quarantined
    (``null_prediction``, ``infinite_prediction``).

    Raises ModelError and ScorerError; the shard can be scored again at any time.
    """
    started = time.monotonic()
    with threadpool_limits(limits={"openmp": run.job.run.threads or threads, "blas": 1}):
        using = prepare(run, model)
        predictions, aside = _score_all(run, shard, using.scorer, model)
    return Scored(
        number=shard.number,
        predictions=predictions,
        quarantine=aside,
        saved_with_sklearn=using.model.saved_with_sklearn if using.model else None,
        scorer_sha256=using.scorer_sha256,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class Prepared:
    """What predicts: the loaded model, the scorer, and the digest of a scorer of the job's own."""

    model: LoadedModel | None
    scorer: Scorer
    scorer_sha256: str | None


def prepare(run: PartitionRun, model: ModelFile) -> Prepared:
    """The loaded model (kept for the next call in this process) and the job's scorer.

    Raises ModelError and ScorerError for all that can be wrong with them before any row is seen.
    """
    loaded = None
    if run.job.model is not None:
        loaded = _loaded(model, tuple(run.job.model.trusted_types), run.connections)
    estimator = loaded.estimator if loaded else None
    path = run.job_file.scorer_path
    own = read_scorer(path) if path else None
    return Prepared(loaded, scorer_for(run.job, own, estimator), own.sha256 if own else None)


def _loaded(
    file: ModelFile, trusted_types: tuple[str, ...], connections: Connections
) -> LoadedModel:
    """The model in ``file``, kept for the next call: its digest says which bytes it is, from wherever."""
    key = (file, trusted_types)
    if key not in _models:
        while len(_models) >= MODELS_KEPT:
            _models.pop(next(iter(_models)))
        _models[key] = load_model(file, list(trusted_types), connections)
    return _models[key]


MODELS_KEPT = 4
_models: dict[tuple[ModelFile, tuple[str, ...]], LoadedModel] = {}


def _score_all(
    run: PartitionRun, shard: Staged, scorer: Scorer, model: ModelFile
) -> tuple[Staged | None, Staged | None]:
    schema: pa.Schema | None = None
    # Named by the shard's digest: an attempt at a shard that was replaced meanwhile may end last.
    of_shard = shard.sha256[:8]
    uri = run.staged(f"predictions-{of_shard}", shard.number)
    aside_uri = run.staged(f"unscored-{of_shard}", shard.number)
    with (
        staged_writer(shard.number, uri, run.storage) as writer,
        staged_writer(shard.number, aside_uri, run.storage) as set_aside,
    ):
        for batch in read_staged(shard, run.storage):
            outputs = _outputs(scorer(_inputs(batch, run.job)), run)
            table = _published_columns(batch, outputs, run, model)
            table, unscored = _without_predictions(table, batch, run)
            for aside in unscored:
                set_aside.write(aside)
            if table.num_rows:
                schema = schema or table.schema
                if table.schema != schema:
                    raise other_types(run, table.schema, schema)
                writer.write(table)
        return writer.close(), set_aside.close()


def _inputs(batch: pa.Table, job: Job) -> pd.DataFrame:
    index = pd.Index(batch.column(ROW).to_numpy(), name="row")
    frame = pd.DataFrame({n: columns.to_pandas(columns.single(batch, n)) for n in job.inputs})
    return frame.set_axis(index, axis=0)


def _outputs(outputs: pd.DataFrame, run: PartitionRun) -> Iterator[tuple[str, pa.Array]]:
    """The scorer's columns as Arrow arrays, without those that come from the source."""
    for name in outputs.columns:
        if name not in run.job.kept_columns:
            try:
                values = pa.Array.from_pandas(outputs[name])
            except pa.ArrowException as error:
                raise ScorerError(
                    f"{run.job.name} {run.partition.key}: the scorer's column {name!r} cannot be "
                    f"stored: {error}; nothing was published"
                ) from error
            yield str(name), columns.encoded(values)


def _without_predictions(
    table: pa.Table, batch: pa.Table, run: PartitionRun
) -> tuple[pa.Table, list[pa.Table]]:
    """``table`` without the rows that lack an output, and those rows as quarantine tables."""
    unscored = np.zeros(table.num_rows, dtype=bool)
    aside = []
    for rule, broken in _output_rules(table, run.job):
        broken = broken & ~unscored
        if broken.any():
            ids = batch.select(run.job.row_id).filter(pa.array(broken))
            rows = batch.column(ROW).to_numpy()[broken]
            aside.append(quarantine.by_rule(ids, rows, rule, run.partition.key))
            unscored |= broken
    return (table.filter(pa.array(~unscored)) if aside else table), aside


def _output_rules(table: pa.Table, job: Job) -> Iterator[tuple[Rule, columns.Mask]]:
    for name in (job.output.prediction, *job.output.probabilities):
        values = columns.single(table, name)
        yield Rule("null_prediction", name), columns.null_mask(values)
        if pa.types.is_floating(values.type):
            yield Rule("infinite_prediction", name), np.isinf(values.to_numpy(zero_copy_only=False))


def _published_columns(
    batch: pa.Table,
    outputs: Iterator[tuple[str, pa.Array]],
    run: PartitionRun,
    model: ModelFile,
) -> pa.Table:
    """Row ids, outputs, kept columns, model version, partition: one row a row of ``batch``."""
    table = {name: columns.single(batch, name) for name in run.job.row_id}
    table |= dict(outputs)
    table |= {name: columns.single(batch, name) for name in run.job.output.keep}
    table["model_version"] = _constant(model.version, batch.num_rows)
    table["partition"] = _constant(run.partition.key, batch.num_rows)
    return pa.table(table)


def _constant(text: str, rows: int) -> pa.Array:
    numbers = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.DictionaryArray.from_arrays(numbers, pa.array([text], pa.string()))


def other_types(run: PartitionRun, found: pa.Schema, first: pa.Schema) -> ScorerError:
    """The error for a scorer whose columns are not the same for all rows."""
    changed = set(found) ^ set(first)
    names = ", ".join(sorted({field.name for field in changed}))
    return ScorerError(
        f"{run.job.name} {run.partition.key}: the scorer returned other columns or types for some "
        f"rows than for the first ones ({names}); nothing was published"
    )
