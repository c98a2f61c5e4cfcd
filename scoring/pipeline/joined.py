"""The shards of a partition joined to one table, and the accounts that must come out even."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.hashing import hash_columns
from scoring.contract.gates import check_gates
from scoring.destinations.base import Publication
from scoring.destinations.manifest import ObjectRecord
from scoring.errors import ContractError, PublicationError
from scoring.models.trees.attach import merged
from scoring.monitoring.drift import ColumnDrift
from scoring.monitoring.judgement import drift_warnings
from scoring.monitoring.statistics import PredictionStatistics
from scoring.monitoring.warnings import constant_output
from scoring.pipeline.changes import Changes, changes_of
from scoring.pipeline.columns import PublishedColumns
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import Extraction, Scored
from scoring.pipeline.references import drift_of
from scoring.pipeline.staging import Staged, read_staged, staged_schema

log = logging.getLogger(__name__)


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
        self.trees: dict[str, str] = {}
        self._warnings: dict[str, None] = {}
        output = context.job.output
        self.statistics = {
            name: PredictionStatistics() for name in [output.prediction, *output.probabilities]
        }
        self._publication = publication
        self._quarantined = [extraction.quarantine] if extraction.quarantine else []
        self._left_out = [extraction.left_out_rows] if extraction.left_out_rows else []
        self._key_sum = 0
        self.drift: list[ColumnDrift] = []
        self.changes = Changes()
        self.handed: list[Scored] = []
        in_force = context.columns or context.so_far.columns(but=context.partition)
        self._columns = PublishedColumns(context.name, in_force)
        self._empty: pa.Table | None = None

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
        self.trees = merged([self.trees, scored.trees])
        self._warnings |= dict.fromkeys(scored.warnings)
        self.seconds["score"] += scored.seconds
        self.handed.append(scored)
        return shards[scored.number].rows

    def close(self) -> ObjectRecord:
        """End the table; raises if rows do not add up or a gate of the partition fails."""
        if len(self.handed) != len(self.extraction.shards):
            raise self._uneven(
                f"{len(self.handed)} of {len(self.extraction.shards)} shards were scored"
            )
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
        self._check_warnings(self.warnings)
        return output

    def find_drift(self) -> None:
        """Compare the partition with its references, where the job says so."""
        config = self.context.job.checks.drift
        if config is None:
            return
        context, extraction = self.context.with_inputs_of(self.extraction.model), self.extraction
        outputs = {name: of.counts for name, of in self.statistics.items()}
        self.drift = drift_of(context, extraction.model.profile, extraction.inputs, outputs)
        moved = drift_warnings(self.drift, config)
        self.warnings += moved
        self._check_warnings(moved)

    def _found_warnings(self) -> list[str]:
        """Return what somebody should know of the model and its predictions."""
        name = self.context.job.output.prediction
        constant = constant_output(name, self.statistics[name].result())
        return [*self._warnings, *([constant] if constant else [])]

    def _check_warnings(self, warnings: list[str]) -> None:
        """Log ``warnings``; ContractError instead where the job says so."""
        if warnings and self.context.job.checks.on_warning == "fail":
            raise ContractError(
                f"{self.context.name}: " + "\n".join(warnings) + "\n"
                "checks.on_warning is fail: a partition with a warning is not published"
            )
        for warning in warnings:
            log.warning("%s: %s", self.context.name, warning)

    def find_changes(self, sha256: str) -> None:
        """Compare the table, whose file has the digest ``sha256``, with what is published."""
        self.changes = changes_of(self.context, sha256, self.tables())

    def tables(self) -> Iterator[pa.Table]:
        """Yield the published table once more, from the shards that were added: at least one table."""
        if self._empty is not None:
            yield self._columns.cast(self._empty)
        for scored in self.handed:
            yield from map(self._columns.cast, self._read(scored.predictions))

    def quarantined(self) -> Iterator[pa.Table]:
        """Yield the quarantined rows of all steps."""
        return chain.from_iterable(map(self._read, self._quarantined))

    def left_out(self) -> Iterator[pa.Table]:
        """Yield the rows of all steps that are left out, for a job that keeps them."""
        return chain.from_iterable(map(self._read, self._left_out))

    def _check_is_next(self, scored: Scored) -> None:
        shards, due = len(self.extraction.shards), len(self.handed)
        if scored.number != due or scored.number >= shards:
            raise self._uneven(f"shard {scored.number} came, expected shard {due} of {shards}")
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
