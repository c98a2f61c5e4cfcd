"""The manifest of a published partition: what was scored, by what, from what, with which figures.

It lies beside the data, in ``DESTINATION/_manifests/month=2013-05.json``, where readers of the
dataset do not look.  There is no other record: what is published is what the manifests say.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import scoring
from scoring.contract.verdict import Verdict
from scoring.errors import PublicationError
from scoring.sources.base import SourceRecord

FORMAT_VERSION = 1
_NUMBERS = re.compile(r"\[\s+[-0-9.,eE+\s]+\]")
PACKAGES = ("duckdb", "numpy", "pandas", "pyarrow", "scikit-learn", "skops")


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class ArtifactRecord(_Record):
    """A file that the scorer was given besides the model."""

    uri: str
    sha256: str
    format: str


class RegisteredRecord(_Record):
    """A version in an MLflow registry; ``alias`` is the one that the job asked by."""

    name: str
    number: str
    alias: str | None = None
    run_id: str | None = None
    source: str


class ProfileRecord(_Record):
    """The training profile that the partition was compared with."""

    uri: str
    sha256: str


class ModelRecord(_Record):
    """The model that made the predictions; for a job without one, the scorer file stands for it.

    ``runtime_versions`` has the releases of the libraries that saved it; ``accept`` those that the
    job accepts although others are installed. ``environment`` is the one it was scored in, if that
    is its own: ``python``, the exact version, and ``lock_sha256``, the digest of its packages.
    ``trees`` says of each class of ensembles in it what evaluated them: ``exact``, or
    ``scikit-learn:`` and why; releases before 0.1 did not record that.
    ``inputs`` is the contract where the model's signature is it, as ``inputs`` in a job file.
    """

    name: str
    version: str
    uri: str
    sha256: str
    format: str = ""
    runtime_versions: dict[str, str] = {}
    accept: dict[str, str] = {}
    files: dict[str, ArtifactRecord] = {}
    environment: dict[str, str] = {}
    trees: dict[str, str] = {}
    inputs: dict[str, dict[str, Any]] | None = None
    registered: RegisteredRecord | None = None
    profile: ProfileRecord | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_release(cls, values: Any) -> Any:
        """Accept ``saved_with_sklearn``, the one release that a manifest named until 0.1."""
        if isinstance(values, dict) and values.get("saved_with_sklearn"):
            return {"runtime_versions": {"scikit-learn": values["saved_with_sklearn"]}} | values
        return values


class RowsRecord(_Record):
    """``in`` = ``scored`` + ``quarantined`` + ``left_out``.

    ``reasons`` counts the quarantined by their rule, ``left_out_reasons`` those that are left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    rows_in: int = Field(alias="in")  # `in` is a word of Python's own
    scored: int
    quarantined: int
    left_out: int = 0
    reasons: dict[str, int]
    left_out_reasons: dict[str, int] = {}


class ObjectRecord(_Record):
    uri: str
    bytes: int
    sha256: str


class ChallengerRecord(_Record):
    """What another version made of the same rows; ``error`` says why it made nothing.

    ``difference`` is how its predictions differ from the published ones
    (``scoring.monitoring.difference.Difference``).
    """

    version: str
    sha256: str | None = None
    output: ObjectRecord | None = None
    rows_scored: int | None = None
    difference: dict[str, Any] | None = None
    error: str | None = None


class _Format(_Record):
    format_version: int = FORMAT_VERSION


class Manifest(_Format):
    """One published partition.  Times are ISO 8601 with offset; durations are in seconds.

    ``job_sha256`` is of the job file's bytes, ``job_meaning_sha256`` of what of it can change the
    predictions (``scoring.job.meaning``); releases before 0.1 did not record that. ``difference`` is
    how the predictions differ from those that were published before, where the job limits that.
    """

    job: str
    job_sha256: str
    job_meaning_sha256: str | None = None
    partition: str
    interval_start: str
    interval_end: str
    model: ModelRecord
    scorer_sha256: str | None
    source: SourceRecord
    source_types: dict[str, str] = {}
    rows: RowsRecord
    output: ObjectRecord
    columns: dict[str, str] = {}
    quarantine: ObjectRecord | None
    left_out: ObjectRecord | None = None
    gates: list[Verdict] = []
    warnings: list[str] = []
    inputs: dict[str, dict[str, Any]] = {}
    statistics: dict[str, dict[str, Any]]
    drift: list[dict[str, Any]] = []
    difference: dict[str, Any] | None = None
    challengers: list[ChallengerRecord] = []
    run: dict[str, str]
    code_version: str
    packages: dict[str, str]
    durations_seconds: dict[str, float]

    @property
    def beside(self) -> list[ObjectRecord]:
        """The files of rows that have no prediction."""
        return [record for record in (self.quarantine, self.left_out) if record]

    @property
    def publisher(self) -> str:
        """The run that published this, in words."""
        return self.publisher_of(self.run)

    @staticmethod
    def publisher_of(run: Mapping[str, str]) -> str:
        """Return a ``run`` record in words."""
        if "run_id" in run:
            return f"the run {run['run_id']} of the Dag {run.get('dag_id')}"
        return f"a run from the {run.get('by', 'shell')}"

    @property
    def identity(self) -> str:
        """A digest that no other publication has, not even one of the same bytes."""
        of = [self.job, self.output.sha256, self.run, self.durations_seconds]
        return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()

    def is_of(self, run: Mapping[str, str]) -> bool:
        """Return whether this was published by the Airflow run that the ``run`` record names."""
        return "run_id" in run and all(
            self.run.get(key) == run.get(key) for key in ("dag_id", "run_id")
        )

    def to_json(self) -> str:
        """Return the manifest as it is stored; a list of numbers takes one line."""
        text = self.model_dump_json(indent=2, by_alias=True, exclude_defaults=False)
        return _NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n"


def parse_manifest(data: bytes, uri: str) -> Manifest:
    """Return the manifest in ``data``; PublicationError if it is none, or of a newer format."""
    try:
        version = _Format.model_validate_json(data).format_version
        if version > FORMAT_VERSION:
            raise PublicationError(
                f"{uri} has format_version {version}, and this release reads up to "
                f"{FORMAT_VERSION}: upgrade batch-scoring to read it"
            )
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        message = ".".join(map(str, first["loc"])) + " " + first["msg"]
        raise PublicationError(f"{uri} is not a manifest: {message.strip()}") from None


@cache
def code_version() -> str:
    """Return the release, and a digest of this package's source: the same code has the same
    version.
    """
    digest = hashlib.sha256()
    package = Path(scoring.__file__).parent
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.c")]):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{scoring.__version__}+{digest.hexdigest()[:12]}"


@cache
def package_versions() -> dict[str, str]:
    """Return the releases of the packages that shape the predictions and the files."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
