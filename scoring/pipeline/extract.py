"""Step 1 of 3: a partition's source becomes staged shards of rows that may be scored.

The source is read once, batch by batch: each batch is checked against the contract, its bad rows go
to the quarantine, its good ones to the shard at hand.  A shard holds the good rows of
``run.shard_rows`` source rows, so shards and batches never depend on how the source is stored.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.hashing import Hashes, hash_columns
from scoring.contract import quarantine
from scoring.contract.duplicates import RowIdIndex, Rows, repeated_rows
from scoring.contract.gates import check_gates
from scoring.contract.rules import Rule
from scoring.contract.tally import Tally
from scoring.errors import ContractError
from scoring.job.columns import ROW
from scoring.models.base import ModelFile
from scoring.models.user_scorer import read_scorer
from scoring.monitoring.statistics import Counts
from scoring.pipeline.attempts import remove_abandoned_attempts
from scoring.pipeline.challengers import NO_CHALLENGERS, Challengers
from scoring.pipeline.checked_rows import RowChecker
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import Extraction, extraction_uri
from scoring.pipeline.hold import release
from scoring.pipeline.key_suggestion import IDS_LOOKED_AT, suggest_key
from scoring.pipeline.staging import Staged, StagedWriter, read_staged, staged_writer
from scoring.sources.base import Source, open_source
from scoring.storage.base import write

BATCH_ROWS = 131_072

OnShard = Callable[[Staged], None]
OnRows = Callable[[int, int | None], None]


def extract(
    context: PartitionContext,
    model: ModelFile,
    on_shard: OnShard = lambda shard: None,
    on_rows: OnRows = lambda rows, total: None,
    challengers: Challengers = NO_CHALLENGERS,
) -> Extraction:
    """Stage the rows of the partition, to be scored with ``model``, and say what they are.

    ``on_shard`` is called with each shard as soon as it is staged, ``on_rows`` with each number of
    source rows taken in.  A shard given to ``on_shard`` may be replaced in the result (another
    digest) if rows in it turn out to repeat the id of an earlier row. ``challengers`` are recorded for
    the next steps.

    Raises SourceMissingError, SourceError, and ContractError when the rows break the contract
    beyond what the job tolerates. Nothing is published by this step.
    """
    started, context = time.monotonic(), context.with_inputs_of(model)
    job, scorer = context.job, context.job_file.scorer_path
    # First: what another run publishes while this one reads its source is newer than that source.
    published = context.publisher.mark(context.partition)
    with contextlib.closing(
        RowChecker(context.job_file, context.partition, context.so_far)
    ) as checker:
        source = open_source(job, context.partition, context.roots, context.connections)
        # Not earlier: it may leave a folder, so not for nothing.
        context.publisher.check_writable(context.partition)
        context.storage.remove_tree(context.staging)
        remove_abandoned_attempts(context)
        release(context)
        with PartitionStager(context, source, checker) as stager:
            stager.take_in(on_shard, on_rows)
            if job.row_id != "row_number":
                stager.remove_duplicates()
            quarantined, left_out = stager.quarantine.close(), stager.left_out.close()
            stager.check_gates()
    extraction = Extraction(
        job_sha256=context.job_file.sha256,
        partition=context.partition.key,
        model=model,
        scorer_sha256=read_scorer(scorer).sha256 if scorer else None,
        source=source.record(stager.tally.rows_in),
        replaces=published,
        rows_in=stager.tally.rows_in,
        quarantined=stager.tally.quarantined,
        left_out=stager.tally.left_out,
        examples=stager.tally.examples,
        inputs=stager.inputs,
        shards=stager.shards,
        quarantine=quarantined,
        left_out_rows=left_out,
        source_types=checker.source_types,
        key_sum=stager.key_sum % (1 << 64),
        challengers=challengers,
        seconds=time.monotonic() - started,
    )
    write(context.storage, extraction_uri(context), extraction.model_dump_json().encode())
    return extraction


class PartitionStager:
    """The shards of a partition as they grow, and the accounts of their rows."""

    def __init__(self, context: PartitionContext, source: Source, checker: RowChecker) -> None:
        self.context = context
        self.checker = checker
        self.source = source
        self.job = context.job
        self.tally = Tally(examples_per_rule=self.job.checks.examples)
        self.inputs = {name: Counts() for name in self.job.inputs}
        self.shards: list[Staged] = []
        self.key_sum = 0
        self._repeated: list[Hashes] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._ids = self._open.enter_context(contextlib.closing(RowIdIndex()))
        self.quarantine = self._open.enter_context(self._writer("quarantine"))
        self.left_out = self._open.enter_context(self._writer("left_out"))
        return self

    def _writer(self, kind: str) -> contextlib.AbstractContextManager[StagedWriter]:
        return staged_writer(0, self.context.staged(kind, 0), self.context.storage)

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def take_in(self, on_shard: OnShard, on_rows: OnRows) -> None:
        """Check and stage all rows of the source."""
        shard_rows = self.job.run.shard_rows
        batches = self.source.batches(_batch_sizes(shard_rows))
        numbered = ((self.tally.rows_in // shard_rows, batch) for batch in batches)
        for number, in_shard in itertools.groupby(numbered, key=lambda pair: pair[0]):
            uri = self.context.staged("rows", number)
            with staged_writer(number, uri, self.context.storage) as shard:
                for _, batch in in_shard:
                    shard.write(self._checked(batch))
                    on_rows(batch.num_rows, self.source.rows)
                staged = shard.close()
            assert staged is not None  # a source gives at least one batch, if an empty one
            self.shards.append(staged)
            on_shard(staged)

    def _checked(self, batch: pa.Table) -> pa.Table:
        """Return the rows of ``batch`` that are to be scored, typed and numbered; account for the
        others.
        """
        found = self.checker.check(self.source, batch, self.tally.rows_in)
        if found.quarantined is not None:
            self._quarantine_rows(found.quarantined)
        if found.left_out is not None:
            self.tally.leave_out(found.left_out.column("reason").to_pylist())
            if self.job.output.keep_left_out:
                self.left_out.write(found.left_out)
        hashes = hash_columns(found.good, self.job.id_columns)
        if self.job.row_id != "row_number":
            self._ids.add(hashes, found.good.column(ROW).to_numpy())
        self.key_sum += int(hashes.sum())
        self._count_inputs(found.good)
        self.tally.rows_in += batch.num_rows
        return found.good

    def remove_duplicates(self) -> None:
        """Move rows that repeat the id of an earlier row from their shards to the quarantine."""
        for further, candidates in enumerate(self._ids.candidates()):
            if further:  # not when all are found: each round rewrites shards
                self.check_gates(at_least=True)
            repeats = repeated_rows(candidates, self._staged_ids(), self.job.id_columns, ROW)
            self.shards = [self._without(repeats, shard) for shard in self.shards]

    def check_gates(self, at_least: bool = False) -> None:
        """Raise ContractError where a gate fails, with what would tell repeated ids apart."""
        try:
            check_gates(self.tally, self.job, self.context.partition, at_least)
        except ContractError:
            if not self._repeated:
                raise
            repeated = np.unique(np.concatenate(self._repeated))
            advice = suggest_key(self.context, self.source, repeated)
            self.tally.advice[str(Rule("duplicate_row_id"))] = advice
            check_gates(self.tally, self.job, self.context.partition, at_least)

    def _staged_ids(self) -> Iterator[pa.Table]:
        for shard in self.shards:
            yield from read_staged(shard, self.context.storage, [*self.job.id_columns, ROW])

    def _without(self, repeats: Rows, shard: Staged) -> Staged:
        """Return ``shard`` without the rows ``repeats``, which are quarantined."""
        tables = list(read_staged(shard, self.context.storage))
        drop = [np.isin(table.column(ROW).to_numpy(), repeats) for table in tables]
        if not any(dropped.any() for dropped in drop):
            return shard
        with staged_writer(shard.number, shard.uri, self.context.storage) as writer:
            for table, dropped in zip(tables, drop, strict=True):
                self._drop(table.filter(pa.array(dropped)))
                writer.write(table.filter(pa.array(~dropped)))
            replaced = writer.close()
        assert replaced is not None
        return replaced

    def _drop(self, rows: pa.Table) -> None:
        """Quarantine ``rows`` that had been staged."""
        if not rows.num_rows:
            return
        hashes = hash_columns(rows, self.job.id_columns)
        self.key_sum -= int(hashes.sum())
        self._repeated.append(hashes[:IDS_LOOKED_AT])
        self._count_inputs(rows, sign=-1)
        ids, numbers = rows.select(self.job.id_columns), rows.column(ROW).to_numpy()
        rule, partition = Rule("duplicate_row_id"), self.context.partition.key
        self._quarantine_rows(quarantine.by_rule(ids, numbers, rule, partition))

    def _quarantine_rows(self, rows: pa.Table) -> None:
        self.tally.add(rows)
        self.quarantine.write(rows)

    def _count_inputs(self, typed: pa.Table, sign: int = 1) -> None:
        for name, counts in self.inputs.items():
            counts.add(combined_column(typed, name), sign)


def _batch_sizes(shard_rows: int) -> Iterator[int]:
    """Yield batches that end where a shard ends."""
    while True:
        left = shard_rows
        while left:
            yield min(BATCH_ROWS, left)
            left -= min(BATCH_ROWS, left)
