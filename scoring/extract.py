"""Step 1 of 3: a partition's source becomes staged shards of rows that may be scored.

The source is read once, batch by batch: each batch is checked against the contract, its bad rows go
to the quarantine, its good ones to the shard at hand.  A shard holds the good rows of
``run.shard_rows`` source rows, so shards and batches never depend on how the source is stored.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from scoring import columns, quarantine
from scoring.batches import of_different_types
from scoring.contract import Accounts, Contract, Rule
from scoring.errors import PublicationError
from scoring.manifest import SourceRecord
from scoring.model import ModelFile
from scoring.row_ids import RowIdIndex, Rows
from scoring.run import PartitionRun
from scoring.scorer import read_scorer
from scoring.source import Source, open_source
from scoring.staging import Staged, StagedWriter, read_staged, staged_writer
from scoring.storage import pending, write

BATCH_ROWS = 131_072
ROW = "__row__"
"""The staged column with each row's number in the source, from 1."""

OnShard = Callable[[Staged], None]
OnRows = Callable[[int, int | None], None]


class Extraction(BaseModel):
    """What the extract step found, written beside the staged shards as ``extraction.json``.

    ``key_sum`` is the sum (mod 2^64) of the hashes of the staged rows' ids: equal at the end, or
    rows were lost, doubled or swapped on the way.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    job_sha256: str
    partition: str
    model: ModelFile
    scorer_sha256: str | None
    source: SourceRecord
    rows_in: int
    quarantined: dict[str, int]
    examples: dict[str, list[str]]
    shards: list[Staged]
    quarantine: Staged | None
    key_sum: int
    seconds: float

    @property
    def accounts(self) -> Accounts:
        return Accounts(self.rows_in, dict(self.quarantined), dict(self.examples))


def extract(
    run: PartitionRun,
    model: ModelFile,
    on_shard: OnShard = lambda shard: None,
    on_rows: OnRows = lambda rows, total: None,
) -> Extraction:
    """Stages the rows of ``run``'s partition, to be scored with ``model``, and says what they are.

    ``on_shard`` is called with each shard as soon as it is staged, ``on_rows`` with each number of
    source rows taken in.  A shard given to ``on_shard`` may be replaced in the result (another
    digest) if rows in it turn out to repeat the id of an earlier row.

    Raises SourceMissing, SourceError, and ContractError when the rows break the contract beyond what
    the job tolerates.  Nothing is published by this step.
    """
    started = time.monotonic()
    job, partition = run.job, run.partition
    scorer = run.job_file.scorer_path
    source = open_source(job, partition, run.roots, run.connections)
    with pending(run.storage, run.destination.output(partition), replaces_current=True):
        pass  # whoever may not publish is told so before anything is scored
    run.storage.remove_tree(run.staging)
    found = _stage(run, source, on_shard, on_rows)
    found.accounts.check(job, partition)
    extraction = Extraction(
        job_sha256=run.job_file.sha256,
        partition=partition.key,
        model=model,
        scorer_sha256=read_scorer(scorer).sha256 if scorer else None,
        source=source.record(found.accounts.rows_in),
        rows_in=found.accounts.rows_in,
        quarantined=found.accounts.quarantined,
        examples=found.accounts.examples,
        shards=found.shards,
        quarantine=found.quarantine,
        key_sum=found.key_sum,
        seconds=time.monotonic() - started,
    )
    write(run.storage, extraction_uri(run), extraction.model_dump_json().encode())
    return extraction


def load_extraction(run: PartitionRun) -> Extraction:
    """What the extract step of ``run`` wrote; PublicationError if that is not for this job file."""
    data = run.storage.read(extraction_uri(run))
    again = "run the whole partition again (in Airflow: clear the run from its first task)"
    if data is None:
        raise PublicationError(f"{extraction_uri(run)} is not there; {again}")
    extraction = Extraction.model_validate_json(data)
    if extraction.job_sha256 != run.job_file.sha256:
        raise PublicationError(
            f"{run.job_file.path} was changed since {run.partition.key} was extracted; nothing was "
            f"published: {again}"
        )
    return extraction


@dataclass
class _Found:
    accounts: Accounts
    shards: list[Staged]
    quarantine: Staged | None
    key_sum: int


def _stage(run: PartitionRun, source: Source, on_shard: OnShard, on_rows: OnRows) -> _Found:
    accounts = Accounts(examples_per_rule=run.job.checks.examples)
    shards, key_sum = list[Staged](), 0
    contract = Contract(run.job, run.partition, source.text_only)
    schema: pa.Schema | None = None
    batches = source.batches(_batch_sizes(run.job.run.shard_rows))
    numbered = ((accounts.rows_in // run.job.run.shard_rows, batch) for batch in batches)
    with (
        RowIdIndex() as index,
        staged_writer(0, run.staged("quarantine", 0), run.storage) as set_aside,
    ):
        for number, in_shard in itertools.groupby(numbered, key=lambda pair: pair[0]):
            with staged_writer(number, run.staged("rows", number), run.storage) as shard:
                for _, batch in in_shard:
                    typed, verdicts = contract.check(batch, source.uri)
                    schema = schema or typed.schema
                    typed = _in_schema(typed, schema, source.uri)
                    rows = np.arange(batch.num_rows) + accounts.rows_in + 1
                    if verdicts.any():
                        _set_aside(
                            quarantine.by_verdict(
                                typed.select(run.job.row_id), batch, rows, verdicts,
                                contract.rules, run.partition.key,
                            ), set_aside, accounts,
                        )  # fmt: skip
                        good = verdicts == 0
                        typed, rows = typed.filter(pa.array(good)), rows[good]
                    hashes = _id_hashes(typed, run.job.row_id)
                    index.add(hashes, rows)
                    key_sum += int(hashes.sum())
                    shard.write(typed.append_column(ROW, pa.array(rows)))
                    accounts.rows_in += batch.num_rows
                    on_rows(batch.num_rows, source.rows)
                staged = shard.close()
            assert staged is not None  # a source gives at least one batch, if an empty one
            shards.append(staged)
            on_shard(staged)
        for further, candidates in enumerate(index.candidates()):
            if further:  # not when all are found: each round rewrites shards
                accounts.check(run.job, run.partition, at_least=True)
            repeats = _repeats(candidates, shards, run)
            shards, lost = _without(repeats, shards, run, set_aside, accounts)
            key_sum -= lost
        return _Found(accounts, shards, set_aside.close(), key_sum % (1 << 64))


def _batch_sizes(shard_rows: int) -> Iterator[int]:
    """Batches that end where a shard ends."""
    while True:
        left = shard_rows
        while left:
            yield min(BATCH_ROWS, left)
            left -= min(BATCH_ROWS, left)


def _in_schema(table: pa.Table, schema: pa.Schema, uri: str) -> pa.Table:
    """``table`` in the column types of the first batch; SourceError where later ones disagree."""
    try:
        for name, first in zip(schema.names, schema.types, strict=True):
            found = table.column(name)
            if found.null_count < len(found) and _has_zone(found.type) != _has_zone(first):
                # Arrow would turn one into the other, as if clock times were UTC.
                raise pa.ArrowInvalid(f"{name} is {first} and {found.type}")
        return table.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise of_different_types(uri, error) from error


def _has_zone(kind: pa.DataType) -> bool:
    return getattr(kind, "tz", None) is not None


def _id_hashes(table: pa.Table, row_id: list[str]) -> columns.Hashes:
    return columns.hash_rows([columns.single(table, name) for name in row_id])


def _set_aside(rows: pa.Table, writer: StagedWriter, accounts: Accounts) -> None:
    accounts.add(rows)
    writer.write(rows)


def _repeats(candidates: Rows, shards: list[Staged], run: PartitionRun) -> Rows:
    """Of ``candidates`` (ascending), the rows whose id an earlier one of them has too."""
    parts, row_id, storage = [], run.job.row_id, run.storage
    for shard in shards:
        for table in read_staged(shard, storage, [*row_id, ROW]):
            wanted = np.isin(table.column(ROW).to_numpy(), candidates)
            if wanted.any():
                kept = table.filter(pa.array(wanted))
                parts.append(
                    pa.table(
                        {n: columns.decoded(columns.single(kept, n)) for n in kept.column_names}
                    )
                )
    frame = pa.concat_tables(parts).to_pandas()
    return np.asarray(frame[ROW][frame.duplicated(row_id, keep="first")], dtype=np.int64)


def _without(
    repeats: Rows,
    shards: list[Staged],
    run: PartitionRun,
    set_aside: StagedWriter,
    accounts: Accounts,
) -> tuple[list[Staged], int]:
    """The shards without the rows ``repeats``, which go to the quarantine; their hashes' sum."""
    key_sum = 0
    result = []
    for shard in shards:
        tables = list(read_staged(shard, run.storage))
        drop = [np.isin(table.column(ROW).to_numpy(), repeats) for table in tables]
        if not any(d.any() for d in drop):
            result.append(shard)
            continue
        with staged_writer(shard.number, shard.uri, run.storage) as writer:
            for table, dropped in zip(tables, drop, strict=True):
                gone = table.filter(pa.array(dropped))
                key_sum += int(_id_hashes(gone, run.job.row_id).sum())
                rows = gone.column(ROW).to_numpy()
                ids = gone.select(run.job.row_id)
                rule = Rule("duplicate_row_id")
                if len(rows):
                    told = quarantine.by_rule(ids, rows, rule, run.partition.key)
                    _set_aside(told, set_aside, accounts)
                writer.write(table.filter(pa.array(~dropped)))
            replaced = writer.close()
            assert replaced is not None
        result.append(replaced)
    return result, key_sum


def extraction_uri(run: PartitionRun) -> str:
    """Where the extract step writes what it found, and the upload step reads it."""
    return f"{run.staging}/extraction.json"
