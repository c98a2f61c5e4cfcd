"""Why a published partition would not come out the same if it were scored again now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from scoring.destinations.catalog import Catalog
from scoring.destinations.index import ManifestSummary
from scoring.destinations.layout import Layout
from scoring.destinations.manifest import code_version
from scoring.errors import ModelError, ScorerError, SourceError
from scoring.job.loader import JobFile
from scoring.job.meaning import meaning_sha256
from scoring.job.notebook import scorer_sha256
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.monitoring.source_changes import NotComparableError, SourceComparison
from scoring.storage.base import Storage

ReasonCode = Literal["model", "source", "job", "code", "output", "taken"]


@dataclass(frozen=True)
class Reason:
    """Why a partition is stale or missing; ``detail`` is a sentence for people."""

    code: ReasonCode
    detail: str


@dataclass(frozen=True)
class StaleCheck:
    """Compares what is published with what its job, source and code are now.

    With ``digests`` files are compared by their bytes where sizes and marks agree.
    """

    job_file: JobFile
    catalog: Catalog
    source: SourceComparison
    storage: Storage
    layout: Layout
    digests: bool = False
    _meanings: dict[str, str | None] = field(default_factory=dict, init=False, repr=False)

    def compare(self, partition: Partition) -> tuple[list[Reason], list[str]]:
        """Return why ``partition`` is stale, and what could not be compared."""
        of = self.catalog.summaries[partition.key]
        found: list[Reason] = []
        unchecked: list[str] = []
        for check in (self._model, self._source, self._job, self._code, self._output):
            try:
                found += check(partition, of)
            except NotComparableError as error:
                unchecked.append(str(error))
        return found, unchecked

    def _model(self, partition: Partition, of: ManifestSummary) -> Iterator[Reason]:
        try:
            change = model_change(self.job_file.job, partition, of)
        except ModelError:
            raise NotComparableError("no model version is in force by the job's policy") from None
        if change is not None:
            yield Reason("model", change)

    def _source(self, partition: Partition, of: ManifestSummary) -> Iterator[Reason]:
        try:
            change = self.source.change(partition, of.source)
        except SourceError as error:
            raise NotComparableError(f"the source cannot be read: {error}") from None
        if change is not None:
            yield Reason("source", change)

    def _job(self, partition: Partition, of: ManifestSummary) -> Iterator[Reason]:
        if of.scorer_sha256 != self._scorer_sha256:
            yield Reason("job", "the scorer has changed")
        if of.job_sha256 == self.job_file.sha256:
            return
        if of.job_meaning_sha256 is None:
            raise NotComparableError(
                "the job file has changed, and the manifest is of a release that did not record "
                "what it meant"
            )
        if self._meaning(of.model_version) not in (None, of.job_meaning_sha256):
            yield Reason("job", "the job file means something else now")

    def _code(self, partition: Partition, of: ManifestSummary) -> Iterator[Reason]:
        then, now = of.code_version, code_version()
        if _major(then) != _major(now):
            yield Reason(
                "code", f"batch-scoring {_release(then)} scored it, {_release(now)} is here"
            )

    def _output(self, partition: Partition, of: ManifestSummary) -> Iterator[Reason]:
        if self.catalog.sizes is None:
            raise NotComparableError("the published files of this destination cannot be listed")
        size = self.catalog.sizes.get(partition.key)
        if size is None:
            yield Reason("output", "the published file is gone")
        elif size != of.output.bytes:
            detail = f"the published file has {size:,} bytes, its manifest says {of.output.bytes:,}"
            yield Reason("output", detail)
        elif self.digests and self._output_sha256(partition) != of.output.sha256:
            yield Reason("output", "the published file has other bytes than its manifest says")

    def _output_sha256(self, partition: Partition) -> str | None:
        return self.storage.sha256(self.layout.output(partition))

    def _meaning(self, version: str) -> str | None:
        """Return what the job means with the model ``version``; None where it no longer has it."""
        if version not in self._meanings:
            try:
                self._meanings[version] = meaning_sha256(self.job_file.job, version)
            except ModelError:
                self._meanings[version] = None
        return self._meanings[version]

    @cached_property
    def _scorer_sha256(self) -> str | None:
        path = self.job_file.scorer_path
        try:
            return scorer_sha256(path, path.read_bytes()) if path else None
        except OSError as error:
            raise NotComparableError(f"{path} cannot be read: {error.strerror}") from None
        except ScorerError as error:  # a notebook that is not one
            raise NotComparableError(str(error)) from None


def model_change(job: Job, partition: Partition, of: ManifestSummary) -> str | None:
    """Return how the model that scored ``partition`` differs from the one in force now; None where it
    does not. Raises ModelError where no version is in force.
    """
    if job.model is None:
        return None  # a scorer alone: its code is compared with the job
    version = job.version_for(partition)
    if version.version != of.model_version and not version.pinned_to(of.model_version):
        return f"{version.version} is in force, {of.model_version} scored it"
    if version.sha256 not in (None, of.model_sha256):
        return f"the job pins another file as {version.version}"
    return None


def _release(version: str) -> str:
    return version.partition("+")[0]


def _major(version: str) -> str:
    return version.partition(".")[0]
