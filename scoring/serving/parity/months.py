"""Whether a scoring service answers with the bits that a partition is published with.

The rows of the source go to the service in the order in which a run reads them, and each answer is
compared with what is published for its row.  A few requests are on their way at a time and are
compared in order, so that memory does not grow with the partition.  Nothing is changed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import pyarrow as pa

from scoring.destinations.manifest import Manifest
from scoring.errors import JobError, ParityError
from scoring.job.columns import ADDED_COLUMNS, IN_FILE
from scoring.job.inputs import ColumnConfig
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.extract import BATCH_ROWS
from scoring.pipeline.verify import intact_manifest
from scoring.serving.parity.answered_rows import AnsweredRows
from scoring.serving.parity.comparison import Comparison
from scoring.serving.parity.differences import Differences
from scoring.serving.parity.peer import PeerOptions
from scoring.serving.parity.published_rows import UnscoredRows, open_predictions
from scoring.sources.base import Source, SourceRecord, open_source

OnProgress = Callable[[int, int | None], None]
"""Called with how many more rows are compared, and of how many."""


@dataclass(frozen=True)
class Parity:
    """What a comparison has found; ``compared`` counts the rows by what is published for them."""

    name: str
    manifest: Manifest
    url: str
    body: str
    columns: list[str]
    compared: Counter[str]
    differences: Differences
    source: SourceRecord

    @property
    def source_changed(self) -> bool:
        return self.source.sha256 != self.manifest.source.sha256

    def check(self) -> None:
        """Raise ParityError if an answer differs from what is published."""
        found = self.differences
        if not found.count:
            return
        columns = ", ".join(f"{name} {count:,}" for name, count in found.counts.most_common())
        if self.source_changed:
            advice = (
                f"The source {self.source.uri} has changed since this was published: score "
                f"{self.name} again, then compare again"
            )
        else:
            advice = (
                "Start the service with the job file, the model and the release that the partition "
                f"was scored with, or score {self.name} again; `scoring verify` shows whether a "
                "batch still gives what is published"
            )
        raise ParityError(
            f"{self.url} answers otherwise than {self.name} is published: {found.count:,} "
            f"difference{'s' if found.count > 1 else ''} ({columns}). Nothing was changed\n"
            f"{found.summary()}\n{advice}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return a report that is the same each time that the same is found."""
        manifest = self.manifest
        return {
            "job": manifest.job,
            "partition": manifest.partition,
            "url": self.url,
            "version": manifest.model.version,
            "same": not self.differences.count,
            "sent_as": self.body,
            "sha256": {
                "model": manifest.model.sha256,
                "output": manifest.output.sha256,
                "quarantine": manifest.quarantine.sha256 if manifest.quarantine else None,
                "left_out": manifest.left_out.sha256 if manifest.left_out else None,
                "source": self.source.sha256,
            },
            "source_changed": self.source_changed,
            "columns": self.columns,
            "rows": {
                "in": self.source.rows,
                "scored": self.compared["scored"],
                "quarantined": self.compared["quarantined"],
                "left_out": self.compared["left_out"],
                "duplicate_row_id": self.compared["duplicate_row_id"],
            },
            "differences": self.differences.to_json(),
        }


def compare_with(
    context: PartitionContext,
    options: PeerOptions,
    on_progress: OnProgress = lambda rows, total: None,
) -> Parity:
    """Send the rows of the partition's source to a service or a stream, and compare what it answers.

    Raises VerifyError if nothing is published or its files are not what the manifest says, JobError
    for a destination that cannot be read back, SourceError, and ServiceError where the service
    gives no answer that could be compared.
    """
    if context.job.destination.format != "parquet":
        raise JobError(
            f"{context.name}: a destination of the kind {context.job.destination.format} cannot be "
            "read back, so answers cannot be compared with it"
        )
    manifest = intact_manifest(context)
    context = _with_inputs_of(context, manifest)
    source = open_source(context.job, context.partition, context.roots, context.connections)
    job, storage = context.job, context.connections.storage(context.publisher.uri)
    kind = _body_of(context, source, options)
    repeated = [n for n in job.kept_columns if n not in {*job.id_columns, *job.source.derive}]
    with (
        options.open(job, context.partition, manifest) as peer,
        open_predictions(storage, manifest.output, [*repeated, *ADDED_COLUMNS]) as predictions,
    ):
        comparison = Comparison(
            job,
            manifest,
            predictions,
            UnscoredRows(storage, manifest.quarantine),
            UnscoredRows(storage, manifest.left_out) if manifest.left_out else None,
            same_types=kind != "json",
        )

        def ask(rows: pa.Table) -> AnsweredRows:
            return peer.ask(rows, kind, predictions.schema)

        total = manifest.rows.rows_in
        requests = _requests(source, options)
        with ThreadPoolExecutor(options.connections, "parity") as pool:
            try:
                for rows, answers in _in_order(pool, ask, requests, 2 * options.connections):
                    comparison.take(rows, answers)
                    on_progress(rows.num_rows, total)
            finally:
                peer.stop()
                pool.shutdown(cancel_futures=True)
        comparison.end()
    again = context.publisher.published(context.partition)
    if again is None or again.identity != manifest.identity:
        raise ParityError(
            f"{context.name} was published again while it was compared; compare it again"
        )
    return Parity(
        name=context.name,
        manifest=manifest,
        url=peer.url,
        body=kind,
        columns=comparison.outputs,
        compared=comparison.compared,
        differences=comparison.differences,
        source=source.record(comparison.rows),
    )


def _with_inputs_of(context: PartitionContext, manifest: Manifest) -> PartitionContext:
    """Return this context with the inputs of the published model's signature, if it is the contract."""
    if not context.job.has_inputs_of_model or manifest.model.inputs is None:
        return context
    inputs = {n: ColumnConfig.model_validate(c) for n, c in manifest.model.inputs.items()}
    return replace(context, job_file=context.job_file.with_inputs(inputs))


def _body_of(context: PartitionContext, source: Source, options: PeerOptions) -> str:
    if not source.text_only:
        return "arrow" if options.arrow else "json"
    if options.arrow:
        raise JobError(
            f"--arrow sends columns in the types in which they are stored, and the source of "
            f"{context.name} has none: its texts are sent as CSV. Leave --arrow out"
        )
    return "csv"


def _requests(source: Source, options: PeerOptions) -> Iterator[pa.Table]:
    """Yield the rows of each request: the columns of the source, without what a run adds."""
    for batch in source.batches(repeat(BATCH_ROWS)):
        batch = batch.select([name for name in batch.column_names if name != IN_FILE])
        for start in range(0, batch.num_rows, options.rows_per_request):
            yield batch.slice(start, options.rows_per_request)


def _in_order(
    pool: ThreadPoolExecutor,
    ask: Callable[[pa.Table], AnsweredRows],
    requests: Iterator[pa.Table],
    ahead: int,
) -> Iterator[tuple[pa.Table, AnsweredRows]]:
    """Yield each request and its answer, in order; up to ``ahead`` are on their way or waiting."""
    waiting: deque[tuple[pa.Table, Future[AnsweredRows]]] = deque()
    for rows in requests:
        waiting.append((rows, pool.submit(ask, rows)))
        if len(waiting) >= ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()
