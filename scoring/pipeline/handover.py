"""What the steps of a run hand to each other: records of what was staged.

Extract writes its record beside the staged shards; those of the scored shards travel as XComs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from scoring.contract.tally import Tally
from scoring.destinations.manifest import Manifest
from scoring.errors import RUN_AGAIN, NotStagedError
from scoring.models.base import ModelFile
from scoring.models.user_scorer import read_scorer
from scoring.monitoring.statistics import Counts
from scoring.pipeline.challengers import Challengers
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.staging import Staged
from scoring.sources.base import SourceRecord


class Extraction(BaseModel):
    """What the extract step found, written beside the staged shards as ``extraction.json``.

    ``key_sum`` is the sum (mod 2^64) of the hashes of the staged rows' ids: equal at the end, or
    rows were lost, doubled or swapped on the way.  ``replaces`` marks what was published when the
    step began.  ``inputs`` counts the values of the staged rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    job_sha256: str
    partition: str
    model: ModelFile
    scorer_sha256: str | None
    source: SourceRecord
    replaces: str | None
    rows_in: int
    quarantined: dict[str, int]
    left_out: dict[str, int] = {}
    examples: dict[str, list[str]]
    inputs: dict[str, Counts]
    shards: list[Staged]
    quarantine: Staged | None
    left_out_rows: Staged | None = None
    source_types: dict[str, str] = {}
    key_sum: int
    challengers: Challengers = Challengers()
    seconds: float

    @property
    def tally(self) -> Tally:
        return Tally(
            self.rows_in,
            dict(self.quarantined),
            dict(self.examples),
            left_out=dict(self.left_out),
        )


class Scored(BaseModel):
    """The predictions of one shard; ``quarantine`` holds its rows that got no prediction,
    ``left_out`` those that the job's own scorer leaves out.

    ``predictions`` is None for a shard without rows that could be scored.  ``scorer_sha256`` is the
    digest of the job's own scorer as it was run; None for a job without one. ``trees`` is what
    evaluated the model's ensembles, as in ``ModelRecord``. ``challengers`` has what other versions
    made of the same rows, ``challenger_errors`` why others failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    predictions: Staged
    quarantine: Staged | None
    left_out: Staged | None = None
    runtime_versions: dict[str, str]
    scorer_sha256: str | None
    environment: dict[str, str] = {}
    trees: dict[str, str] = {}
    warnings: list[str]
    challengers: dict[str, Scored] = {}
    challenger_errors: dict[str, str] = {}
    seconds: float


def extraction_uri(context: PartitionContext) -> str:
    """Return where the extract step writes what it found, and the upload step reads it."""
    return f"{context.staging}/extraction.json"


def load_extraction(context: PartitionContext) -> Extraction:
    """Return what the extract step wrote; PublicationError if that is not for this job file."""
    data = context.storage.read(extraction_uri(context))
    if data is None:
        raise NotStagedError(f"{extraction_uri(context)} is not there; {RUN_AGAIN}")
    extraction = Extraction.model_validate_json(data)
    if extraction.job_sha256 != context.job_file.sha256:
        raise NotStagedError(
            f"{context.job_file.path} has changed since {context.partition.key} was extracted: "
            f"{RUN_AGAIN}"
        )
    return extraction


def published_before(
    context: PartitionContext,
    triggered_by: Mapping[str, str],
    asked_model: Callable[[], ModelFile] | None = None,
) -> Manifest | None:
    """Return what this very Airflow run has published already, where nothing of it is staged any
    longer.

    So it is when a step is tried again after a kill, or cleared alone in a run that was finished.
    Raises NotStagedError where something else would be published today: another job file, scorer or
    model; ``asked_model`` says which model, None that nobody knows.
    """
    if "run_id" not in triggered_by or context.storage.read(extraction_uri(context)) is not None:
        return None
    manifest = context.publisher.published(context.partition)
    if manifest is None or not manifest.is_of(triggered_by):
        return None
    changes = list(_changes_since(manifest, context, asked_model))
    if changes:
        raise NotStagedError(
            f"{context.name}: this run has published it with model version "
            f"{manifest.model.version}, and now {' and '.join(changes)}; what was published stays, "
            f"as the rows are no longer staged: {RUN_AGAIN}"
        )
    return manifest


def same_work(manifest: Manifest, extraction: Extraction) -> bool:
    """Return whether ``manifest`` records the same rows, scored by the same model for the same job
    file.
    """
    return (
        manifest.job_sha256 == extraction.job_sha256
        and manifest.scorer_sha256 == extraction.scorer_sha256
        and manifest.model.version == extraction.model.version
        and manifest.model.sha256 == extraction.model.sha256
        and manifest.source.identity == extraction.source.identity
    )


def _changes_since(
    manifest: Manifest, context: PartitionContext, asked_model: Callable[[], ModelFile] | None
) -> Iterator[str]:
    scorer = context.job_file.scorer_path
    if manifest.job_sha256 != context.job_file.sha256:
        yield f"{context.job_file.path} has changed"
    if manifest.scorer_sha256 != (read_scorer(scorer).sha256 if scorer else None):
        yield "the scorer has changed"
    if asked_model is None:
        return
    model = asked_model()
    if model.version != manifest.model.version:
        yield f"model version {model.version} is requested"
    elif model.sha256 != manifest.model.sha256:
        yield f"the file of model version {model.version} has changed"
