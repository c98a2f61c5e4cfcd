"""Step 3 of 3: the staged predictions become the published partition, in one step for its readers.

How a destination swaps a partition is in ``scoring.destinations``; here rows are accounted for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.hashing import hash_columns
from scoring.contract.gates import check_gates
from scoring.destinations.base import Publication
from scoring.destinations.manifest import (
    Manifest,
    ModelRecord,
    ObjectRecord,
    RowsRecord,
    code_version,
    package_versions,
)
from scoring.errors import ContractError, NewerPublicationError, PublicationError
from scoring.models.base import ModelFile
from scoring.monitoring.statistics import PredictionStatistics
from scoring.monitoring.warnings import constant_output
from scoring.pipeline.columns import PublishedColumns
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import (
    Extraction,
    Scored,
    extraction_uri,
    load_extraction,
    published_before,
    same_work,
)
from scoring.pipeline.staging import Staged, read_staged, staged_schema

log = logging.getLogger(__name__)

OnRows = Callable[[int], None]


def publish(
    context: PartitionContext,
    scored: Iterable[Scored],
    triggered_by: Mapping[str, str],
    on_rows: OnRows = lambda rows: None,
    *,
    replace_newer: bool = False,
    asked_model: Callable[[], ModelFile] | None = None,
) -> Manifest:
    """Publish the partition from its ``scored`` shards, in the order of their numbers.

    ``triggered_by`` says who ran this (for the manifest's ``run``); ``on_rows`` is called with each
    number of rows joined.  Readers get the old partition until the predictions are swapped, and the
    new one from then on.  The staging is removed at the end.

    The work may be done already; then the manifest of that is returned, and nothing is changed: an
    Airflow run (``run_id`` in ``triggered_by``) may have published before it was killed, if
    ``asked_model`` does not give another model than that; and another run may have published the
    same rows meanwhile, scored by the same model for the same job file.

    Raises PublicationError if shards are missing or changed, if rows do not add up by count or by
    key, or if another process publishes this partition; NewerPublicationError if one has done so
    since extract, unless ``replace_newer``; ContractError as extract does.
    """
    started, waited = time.monotonic(), 0.0
    storage, publisher = context.storage, context.publisher
    done = published_before(context, triggered_by, asked_model)
    if done is not None:
        storage.remove_tree(context.staging)
        return done
    extraction = load_extraction(context)
    try:
        with publisher.begin(
            context.partition, extraction.replaces, triggered_by, context.staging, replace_newer
        ) as publication:
            joined = JoinedShards(context, extraction, publication)
            for shard, seconds in _timed(scored):
                waited += seconds
                on_rows(joined.add(shard))
            output = joined.close()
            quarantined = publication.write_quarantine(joined.quarantined())
            left_out = None
            if context.job.output.keep_left_out:
                left_out = publication.write_left_out(joined.left_out())
            manifest = publication.commit(
                _manifest(
                    joined,
                    output,
                    (quarantined, left_out),
                    triggered_by,
                    time.monotonic() - started - waited,
                )
            )
    except NewerPublicationError:
        newer = publisher.published(context.partition)
        if newer is None or not same_work(newer, extraction):
            raise
        manifest = newer
    storage.remove(extraction_uri(context))  # first: it is never there without its shards
    storage.remove_tree(context.staging)
    return manifest


def in_order(scored: Iterable[Scored]) -> Iterator[Scored]:
    """Yield ``scored`` by shard number: Airflow hands mapped results over in any order."""
    yield from sorted(scored, key=lambda s: s.number)


def _timed(scored: Iterable[Scored]) -> Iterator[tuple[Scored, float]]:
    """Yield each of ``scored``, and the seconds that it was waited for."""
    items = iter(scored)
    while True:
        started = time.monotonic()
        shard = next(items, None)
        if shard is None:
            return
        yield shard, time.monotonic() - started


class JoinedShards:
    """The published table as it grows, and the accounts that must come out even."""

    def __init__(
        self, context: PartitionContext, extraction: Extraction, publication: Publication
    ) -> None:
        self.context = context
        self.extraction = extraction
        self.tally = extraction.tally
        self.tally.examples_per_rule = context.job.checks.examples
        self.rows = 0
        self.seconds = {"extract": extraction.seconds, "score": 0.0}
        self.runtime_versions: dict[str, str] = {}
        self.environment: dict[str, str] | None = None
        self._warnings: dict[str, None] = {}
        output = context.job.output
        self.statistics = {
            name: PredictionStatistics() for name in [output.prediction, *output.probabilities]
        }
        self._publication = publication
        self._quarantined = [extraction.quarantine] if extraction.quarantine else []
        self._left_out = [extraction.left_out_rows] if extraction.left_out_rows else []
        self._key_sum = 0
        in_force = context.columns or context.publisher.columns(but=context.partition)
        self._columns = PublishedColumns(context.name, in_force)
        self._empty: pa.Table | None = None
        self._next = 0

    def add(self, scored: Scored) -> int:
        """Append a shard, which must be the next one; returns how many rows that were."""
        shards, before = self.extraction.shards, self.rows
        self._check_is_next(scored)
        for table in self._read(scored.predictions):
            self._write(table)
        if not scored.predictions.rows and self._empty is None:
            schema = staged_schema(scored.predictions, self.context.storage)
            self._empty = schema.empty_table()
        rejected = scored.quarantine.rows if scored.quarantine else 0
        left_out = scored.left_out.rows if scored.left_out else 0
        if self.rows - before + rejected + left_out != shards[scored.number].rows:
            raise self._uneven(
                f"shard {scored.number} has {shards[scored.number].rows:,} rows, of which "
                f"{self.rows - before:,} were scored, {rejected:,} quarantined and {left_out:,} "
                "left out"
            )
        if scored.quarantine:
            self._quarantined.append(scored.quarantine)
            for table in self._read(scored.quarantine):
                self.tally.add(table)
                self._key_sum += self._keys_of(table)
        if scored.left_out:
            self._left_out.append(scored.left_out)
            for table in self._read(scored.left_out):
                self.tally.leave_out(table.column("reason").to_pylist())
                self._key_sum += self._keys_of(table)
        self.runtime_versions = scored.runtime_versions
        self.environment = scored.environment
        self._warnings |= dict.fromkeys(scored.warnings)
        self.seconds["score"] += scored.seconds
        self._next += 1
        return shards[scored.number].rows

    def close(self) -> ObjectRecord:
        """End the table; raises if rows do not add up or a gate of the partition fails."""
        if self._next != len(self.extraction.shards):
            raise self._uneven(f"{self._next} of {len(self.extraction.shards)} shards were scored")
        if not self.rows:
            assert self._empty is not None  # there is a shard, if one without rows
            self._publication.write(self._columns.cast(self._empty))
        output = self._publication.close()
        if self.rows + self.tally.rows_quarantined != self.tally.rows_wanted:
            raise self._uneven(
                f"{self.tally.rows_in:,} rows came in, {self.rows:,} were scored, "
                f"{self.tally.rows_quarantined:,} quarantined and {self.tally.rows_left_out:,} "
                "left out"
            )
        if self._key_sum % (1 << 64) != self.extraction.key_sum:
            raise self._uneven("the row ids at the end differ from those at the start")
        self.verdicts = check_gates(self.tally, self.context.job, self.context.partition)
        self.warnings = self._found_warnings()
        self._check_warnings()
        return output

    def _found_warnings(self) -> list[str]:
        """Return what somebody should know of the model and its predictions."""
        name = self.context.job.output.prediction
        constant = constant_output(name, self.statistics[name].result())
        return [*self._warnings, *([constant] if constant else [])]

    def _check_warnings(self) -> None:
        """Log the warnings; ContractError instead where the job says so."""
        if self.warnings and self.context.job.checks.on_warning == "fail":
            raise ContractError(
                f"{self.context.name}: " + "\n".join(self.warnings) + "\n"
                "checks.on_warning is fail: a partition with a warning is not published"
            )
        for warning in self.warnings:
            log.warning("%s: %s", self.context.name, warning)

    def quarantined(self) -> Iterator[pa.Table]:
        """Yield the quarantined rows of all steps."""
        return chain.from_iterable(map(self._read, self._quarantined))

    def left_out(self) -> Iterator[pa.Table]:
        """Yield the rows of all steps that are left out, for a job that keeps them."""
        return chain.from_iterable(map(self._read, self._left_out))

    def _check_is_next(self, scored: Scored) -> None:
        shards = len(self.extraction.shards)
        if scored.number != self._next or scored.number >= shards:
            raise self._uneven(
                f"shard {scored.number} came, expected shard {self._next} of {shards}"
            )
        if scored.scorer_sha256 != self.extraction.scorer_sha256:
            raise self._uneven(f"the scorer was changed before shard {scored.number} was scored")
        if self.environment not in (None, scored.environment):
            raise self._uneven(
                f"shard {scored.number} was scored with other packages than those before, as "
                "another machine has resolved environment.requirements at another time. Pin every "
                "package there: `scoring env --json` prints the releases"
            )

    @property
    def columns(self) -> dict[str, str]:
        """The published columns and their types, as readers find them."""
        return self._columns.types

    def _read(self, staged: Staged) -> Iterator[pa.Table]:
        return read_staged(staged, self.context.storage)

    def _write(self, table: pa.Table) -> None:
        self._publication.write(self._columns.cast(table))
        self.rows += table.num_rows
        self._key_sum += self._keys_of(table)
        for name, statistics in self.statistics.items():
            statistics.add(combined_column(table, name))

    def _keys_of(self, table: pa.Table) -> int:
        return int(hash_columns(table, self.context.job.id_columns).sum())

    def _uneven(self, what: str) -> PublicationError:
        return PublicationError(
            f"{self.context.name}: {what}. Run the "
            "whole partition again (in Airflow: clear the run from its first task)"
        )


def _inputs_of_signature(model: ModelFile) -> dict[str, dict[str, Any]] | None:
    if model.inputs is None:
        return None
    return {name: column.model_dump(exclude_defaults=True) for name, column in model.inputs.items()}


def _manifest(
    joined: JoinedShards,
    output: ObjectRecord,
    beside: tuple[ObjectRecord | None, ObjectRecord | None],
    triggered_by: Mapping[str, str],
    seconds: float,
) -> Manifest:
    context, extraction, tally = joined.context, joined.extraction, joined.tally
    rows: dict[str, Any] = {
        "in": tally.rows_in,
        "scored": joined.rows,
        "quarantined": tally.rows_quarantined,
        "left_out": tally.rows_left_out,
        "reasons": tally.quarantined,
        "left_out_reasons": tally.left_out,
    }
    model = extraction.model.model_dump() | {
        "runtime_versions": joined.runtime_versions,
        "environment": joined.environment or {},
        "inputs": _inputs_of_signature(extraction.model),
    }
    return Manifest(
        job=context.job.name,
        job_sha256=context.job_file.sha256,
        partition=context.partition.key,
        interval_start=context.partition.start.isoformat(),
        interval_end=context.partition.end.isoformat(),
        model=ModelRecord(**model),
        scorer_sha256=extraction.scorer_sha256,
        source=extraction.source,
        source_types=extraction.source_types,
        rows=RowsRecord(**rows),
        output=output,
        columns=joined.columns,
        quarantine=beside[0],
        left_out=beside[1],
        gates=joined.verdicts,
        warnings=joined.warnings,
        inputs={name: counts.model_dump() for name, counts in extraction.inputs.items()},
        statistics={name: s.result() for name, s in joined.statistics.items()},
        run=dict(triggered_by),
        code_version=code_version(),
        packages=package_versions(),
        durations_seconds=joined.seconds | {"upload": seconds},
    )
