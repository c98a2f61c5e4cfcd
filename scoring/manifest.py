"""The manifest of a published partition: what was scored, by what, from what, with which figures.

It lies beside the data, in ``DESTINATION/_manifests/month=2013-05.json``, where readers of the
dataset do not look.  There is no other record: what is published is what the manifests say.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import scoring
from scoring.errors import PublicationError

FORMAT_VERSION = 1
PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "skops")


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class ModelRecord(_Record):
    """The model that made the predictions; for a job without one, the scorer file stands for it."""

    name: str
    version: str
    uri: str
    sha256: str
    saved_with_sklearn: str | None = None


class SourceFileRecord(_Record):
    """``sha256`` is of the file's bytes; in S3 the ``etag`` is enough, unless the job gives a digest."""

    uri: str
    bytes: int
    sha256: str | None
    etag: str | None = None


class SourceRecord(_Record):
    """``sha256`` is the digest of the files' digests, in order; of a query, that of its rows.

    A query has no ``files``; ``query_sha256`` is the digest of its text and its bound values.
    """

    uri: str
    rows: int
    bytes: int
    sha256: str
    files: list[SourceFileRecord]
    query_sha256: str | None = None


class RowsRecord(_Record):
    """``in`` = ``scored`` + ``quarantined``; ``reasons`` counts the quarantined by their rule."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    rows_in: int = Field(alias="in")  # `in` is a word of Python's own
    scored: int
    quarantined: int
    reasons: dict[str, int]


class ObjectRecord(_Record):
    uri: str
    bytes: int
    sha256: str


class _Format(_Record):
    format_version: int = FORMAT_VERSION


class Manifest(_Format):
    """One published partition.  Times are ISO 8601 with offset; durations are in seconds."""

    job: str
    job_sha256: str
    partition: str
    interval_start: str
    interval_end: str
    model: ModelRecord
    scorer_sha256: str | None
    source: SourceRecord
    rows: RowsRecord
    output: ObjectRecord
    quarantine: ObjectRecord | None
    statistics: dict[str, dict[str, Any]]
    run: dict[str, str]
    code_version: str
    packages: dict[str, str]
    durations_seconds: dict[str, float]

    def to_json(self) -> str:
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def parse_manifest(data: bytes, uri: str) -> Manifest:
    """The manifest in ``data``; PublicationError if it is none, or of a newer format."""
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
        told = ".".join(map(str, first["loc"])) + " " + first["msg"]
        raise PublicationError(f"{uri} is not a manifest: {told.strip()}") from None


@cache
def code_version() -> str:
    """The release, and a digest of this package's source: the same code has the same version."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"{scoring.__version__}+{digest.hexdigest()[:12]}"


@cache
def package_versions() -> dict[str, str]:
    """The releases of the packages that shape the predictions and the files."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
