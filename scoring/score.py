"""Step 2 of 3: a staged shard of rows becomes a staged table of predictions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from scoring import columns, quarantine
from scoring.contract import Rule
from scoring.errors import ScorerError
from scoring.extract import ROW
from scoring.job import Job
from scoring.model import LoadedModel, ModelFile, load_model
from scoring.run import PartitionRun
from scoring.scorer import Scorer, scorer_for
from scoring.staging import Staged, read_staged, staged_writer


class Scored(BaseModel):
    """The predictions of one shard; ``quarantine`` holds its rows that got no prediction.

    ``predictions`` is None for a shard without rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    predictions: Staged | None
    quarantine: Staged | None
    saved_with_sklearn: str | None
    seconds: float


def score(run: PartitionRun, shard: Staged, model: ModelFile) -> Scored:
    """Stages the predictions of ``shard``, row for row in its order.

    The staged columns are the row ids, the outputs, the kept columns, ``model_version`` and
    ``partition``.  A row whose prediction is null is quarantined (``null_prediction``).

    Raises ModelError and ScorerError; the shard can be scored again at any time.
    """
    started = time.monotonic()
    with threadpool_limits(limits=run.job.run.threads):
        loaded, scorer = prepare(run, model)
        predictions, aside = _score_all(run, shard, scorer, model)
    return Scored(
        number=shard.number,
        predictions=predictions,
        quarantine=aside,
        saved_with_sklearn=loaded.saved_with_sklearn if loaded else None,
        seconds=time.monotonic() - started,
    )


def prepare(run: PartitionRun, model: ModelFile) -> tuple[LoadedModel | None, Scorer]:
    """The loaded model (kept for the next call in this process) and the job's scorer.

    Raises ModelError and ScorerError for all that can be wrong with them before any row is seen.
    """
    loaded = None
    if run.job.model is not None:
        loaded = _loaded(model, tuple(run.job.model.trusted_types))
    estimator = loaded.estimator if loaded else None
    return loaded, scorer_for(run.job, run.job_file.scorer_path, estimator)


@lru_cache(maxsize=1)
def _loaded(file: ModelFile, trusted_types: tuple[str, ...]) -> LoadedModel:
    return load_model(file, list(trusted_types))


def _score_all(
    run: PartitionRun, shard: Staged, scorer: Scorer, model: ModelFile
) -> tuple[Staged | None, Staged | None]:
    schema: pa.Schema | None = None
    uri, aside_uri = run.staged("predictions", shard.number), run.staged("unscored", shard.number)
    with (
        staged_writer(shard.number, uri) as writer,
        staged_writer(shard.number, aside_uri) as set_aside,
    ):
        for batch in read_staged(shard):
            if batch.num_rows == 0:
                continue
            rows = batch.column(ROW).to_numpy()
            outputs = _outputs(scorer(_inputs(batch, run.job)), run.job)
            table = _published_columns(batch, outputs, run, model)
            schema = schema or table.schema
            if table.schema != schema:
                raise ScorerError(_other_types(run, table.schema, schema))
            unscored = columns.null_mask(columns.single(table, run.job.output.prediction))
            if unscored.any():
                ids = batch.select(run.job.row_id).filter(pa.array(unscored))
                rule = Rule("null_prediction", run.job.output.prediction)
                set_aside.write(quarantine.by_rule(ids, rows[unscored], rule, run.partition.key))
                table = table.filter(pa.array(~unscored))
            writer.write(table)
        return writer.close(), set_aside.close()


def _inputs(batch: pa.Table, job: Job) -> pd.DataFrame:
    index = pd.Index(batch.column(ROW).to_numpy(), name="row")
    frame = pd.DataFrame({n: columns.to_pandas(columns.single(batch, n)) for n in job.inputs})
    return frame.set_axis(index, axis=0)


def _outputs(outputs: pd.DataFrame, job: Job) -> Iterator[tuple[str, pa.Array]]:
    """The scorer's columns as Arrow arrays, without those that come from the source."""
    for name in outputs.columns:
        if name not in job.kept_columns:
            values = pa.Array.from_pandas(outputs[name])
            yield str(name), columns.encoded(values)


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


def _other_types(run: PartitionRun, found: pa.Schema, first: pa.Schema) -> str:
    changed = set(found) ^ set(first)
    names = ", ".join(sorted({field.name for field in changed}))
    return (
        f"{run.job.name} {run.partition.key}: the scorer returned other columns or types for some "
        f"rows than for the first ones ({names}); nothing was published"
    )
