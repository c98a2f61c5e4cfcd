"""How wrong the predictions of a published partition were: they are joined with their actuals.

Both are read batch by batch into a DuckDB file, which joins them by the hash of the row id and
computes the figures, so memory does not grow with the partition.  Hashes have 64 bits: of ten
million rows, the chance that any two of them are taken for one is about three in a million, and
published rows that share a hash are counted as ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.arrow.columns import combined_column
from scoring.arrow.contract import contract_type
from scoring.arrow.hashing import hash_columns
from scoring.destinations.manifest import Manifest
from scoring.errors import JobError, PublicationError, SourceColumnsError
from scoring.expressions.connection import SAFE
from scoring.job.actuals import ActualsConfig, Task
from scoring.job.inputs import ColumnType
from scoring.monitoring.accuracy import classification, regression
from scoring.monitoring.evaluation import EvaluatedRows, Evaluation, parse_evaluation
from scoring.pipeline.actuals import Actuals
from scoring.pipeline.context import PartitionContext
from scoring.sources.base import SourceFileRecord, SourceRecord
from scoring.storage.base import write
from scoring.storage.temporary import TemporaryFolder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY = "512MB"
_BATCH_ROWS = 131_072


def evaluate(context: PartitionContext) -> Evaluation:
    """Evaluate what is published for the partition, store the result and return it.

    Raises JobError for a job without ``actuals``, PublicationError where nothing is published,
    SourceMissingError where the actuals are not there, and SourceError where they cannot be used.
    What is published stays as it is.
    """
    config = context.job.actuals
    if config is None:
        raise context.job_file.error((), "has no actuals; add the section `actuals` to evaluate it")
    manifest = _published(context)
    predictions = _Predictions(context, manifest)
    task = task_of(context, config, predictions.schema)
    actuals = Actuals(context, config, predictions.schema, _truth_type(context, task, predictions))
    with _connection() as connection:
        _load(connection, "predictions", predictions.batches())
        _load(connection, "actuals", actuals.batches())
        record = actuals.record()
        _check_places(context, manifest, record)
        rows = _join(connection, actuals.tally.quarantined)
        found = Evaluation(
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
    again = context.publisher.published(context.partition)
    if again is None or again.identity != manifest.identity:
        raise PublicationError(
            f"{context.name} was published again while it was evaluated; evaluate it again"
        )
    write(context.storage, evaluation_uri(context), found.model_dump_json(indent=1).encode())
    return found


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


def _truth_type(context: PartitionContext, task: Task, predictions: _Predictions) -> ColumnType:
    if task == "regression":
        return "float64"
    kind = predictions.schema.field(context.job.output.prediction).type
    found = contract_type(kind)
    if found is None:
        raise context.job_file.error(("actuals",), f"predictions of type {kind} are not classes")
    return found


def _published(context: PartitionContext) -> Manifest:
    manifest = context.publisher.published(context.partition)
    if manifest is None:
        raise PublicationError(
            f"nothing is published for {context.name}; `scoring run {context.job.name} "
            f"{context.partition.key}` scores it"
        )
    if not context.job.is_own(manifest.job):
        raise PublicationError(
            f"what is published for {context.partition.key} under {context.publisher.uri} is the job "
            f"{manifest.job}'s; give {context.job.name} a destination of its own, or list its former "
            "names in destination.former_names"
        )
    if context.job.destination.format != "parquet":
        raise JobError(
            f"{context.name}: a destination of the kind {context.job.destination.format} cannot be "
            "read back, so it cannot be evaluated"
        )
    return manifest


class _Predictions:
    """The published predictions, as the columns that are compared."""

    def __init__(self, context: PartitionContext, manifest: Manifest) -> None:
        self._context = context
        self._manifest = manifest
        with self._file() as file:
            self.schema: pa.Schema = file.schema_arrow

    @contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        storage, output = self._context.storage, self._manifest.output
        with storage.open(output.uri) as opened, pq.ParquetFile(opened) as file:
            if file.metadata.num_rows != self._manifest.rows.scored:
                raise PublicationError(
                    f"{output.uri} has {file.metadata.num_rows:,} rows, and its manifest says "
                    f"{self._manifest.rows.scored:,}; score {self._context.name} again"
                )
            yield file

    def batches(self) -> Iterator[pa.Table]:
        """Yield ``key``, ``prediction``, and the probabilities as ``p0``, ``p1``, …"""
        job = self._context.job
        values = {"prediction": job.output.prediction}
        values |= {f"p{number}": name for number, name in enumerate(job.output.probabilities)}
        with self._file() as file:
            for batch in file.iter_batches(
                _BATCH_ROWS, columns=[*job.id_columns, *values.values()]
            ):
                table = pa.table(batch)
                columns = {name: combined_column(table, of) for name, of in values.items()}
                yield pa.table({"key": pa.array(hash_columns(table, job.id_columns)), **columns})


@contextmanager
def _connection() -> Iterator[DuckDBPyConnection]:
    import duckdb

    with closing(TemporaryFolder("evaluate")) as folder:
        settings = SAFE | {"memory_limit": _MEMORY, "temp_directory": folder.name, "threads": 1}
        with duckdb.connect(f"{folder.name}/pairs.duckdb", config=settings) as connection:
            connection.execute("SET lock_configuration = true")
            yield connection


def _load(connection: DuckDBPyConnection, name: str, tables: Iterator[pa.Table]) -> None:
    for number, table in enumerate(tables):
        connection.register("batch", table)
        into = f"INSERT INTO {name}" if number else f"CREATE TABLE {name} AS"
        connection.execute(f"{into} FROM batch")
        connection.unregister("batch")


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
