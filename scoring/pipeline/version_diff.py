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
from scoring.errors import ModelError, PublicationError, SourceError, SourceMissingError
from scoring.job.meaning import meaning_sha256
from scoring.models.user_scorer import read_scorer
from scoring.monitoring.difference import Difference
from scoring.monitoring.source_changes import NotComparableError, SourceComparison
from scoring.pipeline.challengers import challenger_context
from scoring.pipeline.comparison import compare_tables
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.elsewhere import job_elsewhere
from scoring.pipeline.evaluate import compute_evaluation
from scoring.pipeline.joins import joined_columns
from scoring.pipeline.local import OnProgress, score_partition
from scoring.pipeline.published_file import PublishedPredictions, published_manifest
from scoring.storage.temporary import TemporaryFolder


@dataclass(frozen=True)
class VersionDiff:
    """How ``other`` differs from ``base`` in one partition; versions by name.

    ``base_errors`` and ``other_errors`` are the figures of each against the actuals, where the job has
    any: ``scoring.monitoring.evaluation.Evaluation.figures``. ``source_changed`` says that the base is
    of an earlier state of the source, as it was published.
    """

    partition: str
    base: str
    other: str
    difference: Difference
    base_errors: dict[str, float | None]
    other_errors: dict[str, float | None]
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
        if len(versions) == 1:
            base, others = _Made(context, published_manifest(context)), [of.made(versions[0])]
        else:
            base, *others = of.made_of_one_source(versions)
        errors = [_errors_of(one) for one in (base, *others)]
        return [
            _compare(base, other, segments, (errors[0], of_other))
            for other, of_other in zip(others, errors[1:], strict=True)
        ]


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

    def made_of_one_source(self, versions: Sequence[str]) -> list[_Made]:
        """Return what each of ``versions`` makes of the same rows."""
        found = [self.made(version) for version in versions]
        if all(_same_source(found[0], one) for one in found):
            return found
        return [self.scored(version) for version in versions]

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
        for context in (self._context, challenger_context(self._context, version)):
            manifest = context.publisher.published(context.partition)
            if manifest is not None and self._is_made_now(manifest, version):
                return _Made(context, manifest)
        return None

    def _is_made_now(self, manifest: Manifest, version: str) -> bool:
        """Return whether ``version`` would make the same of the partition as ``manifest`` says."""
        context, job = self._context, self._context.job
        if manifest.model.version != version or not job.is_own(manifest.job):
            return False
        try:
            same_job = manifest.job_meaning_sha256 == meaning_sha256(job, version)
            file = context.model_file(version)
            source = SourceComparison(job, context.roots, context.connections)
            same_source = source.change(context.partition, manifest.source.files) is None
        except (ModelError, SourceError, NotComparableError):
            return False
        path = context.job_file.scorer_path
        same_scorer = manifest.scorer_sha256 == (read_scorer(path).sha256 if path else None)
        artifacts = {name: of.sha256 for name, of in file.files.items()}
        recorded = {name: of.sha256 for name, of in manifest.model.files.items()}
        same_model = (manifest.model.sha256, recorded) == (file.sha256, artifacts)
        return same_job and same_scorer and same_source and same_model


def _same_source(one: _Made, other: _Made) -> bool:
    return one.manifest.source.identity == other.manifest.source.identity


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
    errors: tuple[dict[str, float | None], dict[str, float | None]],
) -> VersionDiff:
    job = other.context.job
    before = PublishedPredictions(base.context, base.manifest)
    now = PublishedPredictions(other.context, other.manifest)
    if missing := before.missing(joined_columns(job)):
        raise PublicationError(
            f"{base.context.name}: what is published has no column {', '.join(map(repr, missing))}, so "
            "it cannot be compared; name two versions, and both are scored as the job is now"
        )
    columns = joined_columns(job, segments)
    there = [name for name in columns if name in before.schema.names]
    try:
        found = compare_tables(job, before.batches(there), now.batches(columns), segments)
    except ModelError as error:
        raise ModelError(f"{base.context.name}: {error}") from None
    return VersionDiff(
        partition=base.context.partition.key,
        base=base.version,
        other=other.version,
        difference=found,
        base_errors=errors[0],
        other_errors=errors[1],
        source_changed=not _same_source(base, other),
    )
