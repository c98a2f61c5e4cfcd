"""Model versions compared over partitions: what another version would make of the same rows.

A version's predictions of a partition are what it has published, or made as a challenger, if job,
model and source are the same since. Otherwise the partition is scored now, into a temporary folder.
Nothing is published, and nothing changes at the destination.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from scoring.destinations.manifest import Manifest
from scoring.errors import ModelError, PublicationError, SourceMissingError
from scoring.job.meaning import meaning_sha256
from scoring.models.user_scorer import read_scorer
from scoring.monitoring.difference import Difference
from scoring.pipeline.challengers import challenger_context
from scoring.pipeline.comparison import NotComparableError, compare_tables
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.elsewhere import job_elsewhere
from scoring.pipeline.evaluate import compute_evaluation
from scoring.pipeline.joins import joined_columns
from scoring.pipeline.local import OnProgress, score_partition
from scoring.pipeline.published_file import PublishedPredictions, published_manifest
from scoring.sources.base import SourceRecord
from scoring.storage.temporary import TemporaryFolder


@dataclass(frozen=True)
class VersionDiff:
    """How ``other`` differs from ``base`` in one partition; versions by name.

    ``errors`` are the figures of each version against the actuals, where the job has any:
    ``scoring.monitoring.evaluation.Evaluation.figures``. ``source_changed`` says that the published
    rows are of an earlier state of the source.
    """

    partition: str
    base: str
    other: str
    difference: Difference
    errors: dict[str, dict[str, float | None]]
    source_changed: bool = False


@dataclass(frozen=True)
class _Made:
    """What a version has made of a partition, wherever it lies."""

    context: PartitionContext
    manifest: Manifest

    @property
    def version(self) -> str:
        return self.manifest.model.version


def diff_versions(
    context: PartitionContext,
    versions: Sequence[str],
    segments: Sequence[str] = (),
    workers: int | None = None,
    on_progress: OnProgress = lambda step, rows, total: None,
) -> list[VersionDiff]:
    """Return how the other ``versions`` differ from the first; a single one, from what is published.

    ``segments`` are kept columns. Raises what scoring raises, PublicationError where nothing is
    published to compare with, and ModelError where predictions cannot be compared.
    """
    with closing(TemporaryFolder("compare")) as folder:
        of = _Scorer(context, folder.name, workers, on_progress)
        if len(versions) > 1:
            first, others = of.made(versions[0]), versions[1:]
        else:
            first, others = _Made(context, published_manifest(context)), versions
        found = []
        errors = {}
        for version in others:
            other = of.made(version)
            if len(versions) > 1 and not _same_source(first, other):
                # One of them was made of an earlier state of the source: both of that of now.
                first, other = of.scored(versions[0]), of.scored(version)
            for one in (first, other):
                key = (one.version, one.manifest.output.sha256)
                if key not in errors:
                    errors[key] = _errors_of(one)
            found.append(_compare(first, other, segments, errors))
        return found


class _Scorer:
    """Finds or makes the predictions of versions, each once."""

    def __init__(
        self, context: PartitionContext, folder: str, workers: int | None, on_progress: OnProgress
    ) -> None:
        self._context = context
        self._folder = folder
        self._workers = workers
        self._on_progress = on_progress
        self._found: dict[str, _Made] = {}

    def made(self, version: str) -> _Made:
        """Return what ``version`` has made already, if that is what it would make now."""
        return self._found.get(version) or self._stored(version) or self.scored(version)

    def scored(self, version: str) -> _Made:
        """Return what ``version`` makes of the source as it is now."""
        if version not in self._found:
            context = self._context
            job = job_elsewhere(context.job, f"{self._folder}/{version}")
            elsewhere = replace(context, job_file=replace(context.job_file, job=job))
            by = {"by": "diff"}
            manifest = score_partition(elsewhere, by, version, self._workers, self._on_progress)
            self._found[version] = _Made(elsewhere, manifest)
        return self._found[version]

    def _stored(self, version: str) -> _Made | None:
        beside = challenger_context(self._context, version)
        for context in (self._context, replace(beside, staged_in=None)):
            manifest = context.publisher.published(context.partition)
            if manifest is not None and self._is_made_by(manifest, version):
                return _Made(context, manifest)
        return None

    def _is_made_by(self, manifest: Manifest, version: str) -> bool:
        job = self._context.job
        if manifest.model.version != version or not job.is_own(manifest.job):
            return False
        try:
            same_job = manifest.job_meaning_sha256 == meaning_sha256(job, version)
            file = self._context.model_file(version)
        except ModelError:
            return False
        path = self._context.job_file.scorer_path
        same_scorer = manifest.scorer_sha256 == (read_scorer(path).sha256 if path else None)
        return same_job and same_scorer and manifest.model.sha256 == file.sha256


def _same_source(one: _Made, other: _Made) -> bool:
    return _identity(one.manifest.source) == _identity(other.manifest.source)


def _identity(source: SourceRecord) -> tuple[object, ...]:
    return (source.sha256, source.rows, source.query_sha256)


def _errors_of(made: _Made) -> dict[str, float | None]:
    """Return the figures against the actuals; none where the job has none, or they are not there."""
    config = made.context.job.actuals
    if config is None:
        return {}
    try:
        return compute_evaluation(made.context, config, made.manifest).figures
    except SourceMissingError:
        return {}


def _compare(
    base: _Made,
    other: _Made,
    segments: Sequence[str],
    errors: dict[tuple[str, str], dict[str, float | None]],
) -> VersionDiff:
    job = other.context.job
    columns = joined_columns(job)
    before = PublishedPredictions(base.context, base.manifest)
    if missing := before.missing(columns):
        raise PublicationError(
            f"{base.context.name}: what is published has no column {', '.join(map(repr, missing))}, so "
            "it cannot be compared; name two versions, and both are scored as the job is now"
        )
    now = PublishedPredictions(other.context, other.manifest)
    try:
        found = compare_tables(
            job, before.batches(columns), now.batches(joined_columns(job, segments)), segments
        )
    except NotComparableError as error:
        raise ModelError(f"{base.context.name}: {error}") from None
    of = {one.version: errors[one.version, one.manifest.output.sha256] for one in (base, other)}
    return VersionDiff(
        partition=base.context.partition.key,
        base=base.version,
        other=other.version,
        difference=found,
        errors={version: figures for version, figures in of.items() if figures},
        source_changed=not _same_source(base, other),
    )
