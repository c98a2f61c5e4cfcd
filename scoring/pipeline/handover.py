"""What the steps of a run hand to each other: records of what was staged.

Extract writes its record beside the staged shards; those of the scored shards travel as XComs.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from scoring.contract.tally import Tally
from scoring.errors import PublicationError
from scoring.models.base import ModelFile
from scoring.monitoring.statistics import Counts
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
    examples: dict[str, list[str]]
    inputs: dict[str, Counts]
    shards: list[Staged]
    quarantine: Staged | None
    key_sum: int
    seconds: float

    @property
    def tally(self) -> Tally:
        return Tally(self.rows_in, dict(self.quarantined), dict(self.examples))


class Scored(BaseModel):
    """The predictions of one shard; ``quarantine`` holds its rows that got no prediction.

    ``predictions`` is None for a shard without rows that could be scored.  ``scorer_sha256`` is the
    digest of the job's own scorer as it was run; None for a job without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    predictions: Staged
    quarantine: Staged | None
    runtime_versions: dict[str, str]
    scorer_sha256: str | None
    warnings: list[str]
    seconds: float


def extraction_uri(context: PartitionContext) -> str:
    """Where the extract step writes what it found, and the upload step reads it."""
    return f"{context.staging}/extraction.json"


def load_extraction(context: PartitionContext) -> Extraction:
    """What the extract step wrote; PublicationError if that is not for this job file."""
    data = context.storage.read(extraction_uri(context))
    again = "run the whole partition again (in Airflow: clear the run from its first task)"
    if data is None:
        raise PublicationError(f"{extraction_uri(context)} is not there; {again}")
    extraction = Extraction.model_validate_json(data)
    if extraction.job_sha256 != context.job_file.sha256:
        raise PublicationError(
            f"{context.job_file.path} was changed since {context.partition.key} was extracted; nothing "
            f"was published: {again}"
        )
    return extraction
