"""The index of a destination: of each manifest, what coverage needs of it.

It saves one read for each manifest, and is never the truth. An entry counts only while the listing
shows the very version of the manifest that it was made of; any other manifest is read. So it can be
removed at any time, and of two processes that write it at once either may win.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict, ValidationError

from scoring.destinations.layout import Layout
from scoring.destinations.manifest import Manifest, ObjectRecord, parse_manifest
from scoring.errors import ScoringError
from scoring.sources.base import SourceFileRecord
from scoring.storage.base import ObjectInfo, Storage, write

FORMAT_VERSION = 2
"""An index of another format is not read: it is made again."""

READS_AT_ONCE = 8

INDEXES_REMEMBERED = 256


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class ManifestSummary(_Record):
    """What coverage, and a page that shows it, need of a manifest.

    ``rows_scored`` and ``rows_quarantined`` are counts of rows, ``warnings`` that of its warnings.
    """

    job: str
    job_sha256: str
    job_meaning_sha256: str | None
    partition: str
    model_version: str
    model_sha256: str
    scorer_sha256: str | None
    source: list[SourceFileRecord]
    output: ObjectRecord
    code_version: str
    rows_scored: int
    rows_quarantined: int
    warnings: int

    @classmethod
    def of(cls, manifest: Manifest) -> ManifestSummary:
        return cls(
            job=manifest.job,
            job_sha256=manifest.job_sha256,
            job_meaning_sha256=manifest.job_meaning_sha256,
            partition=manifest.partition,
            model_version=manifest.model.version,
            model_sha256=manifest.model.sha256,
            scorer_sha256=manifest.scorer_sha256,
            source=manifest.source.files,
            output=manifest.output,
            code_version=manifest.code_version,
            rows_scored=manifest.rows.scored,
            rows_quarantined=manifest.rows.quarantined,
            warnings=len(manifest.warnings),
        )


class Entry(_Record):
    """``version`` is the one of the manifest, by the listing, that ``summary`` is of."""

    version: str
    summary: ManifestSummary


class _Index(_Record):
    format_version: int
    entries: dict[str, Entry]


_remembered: dict[tuple[str, str], dict[str, Entry]] = {}


def read_index(layout: Layout, storage: Storage, version: str) -> dict[str, Entry]:
    """Return the entries by URI of their manifests; none where the index is not one.

    ``version`` is its own, by the listing: this process reads each version once.
    """
    key = (layout.index, version)
    entries = _remembered.get(key)
    if entries is None:
        entries = _parsed(storage.read(layout.index))
        if len(_remembered) >= INDEXES_REMEMBERED:
            _remembered.clear()
        _remembered[key] = entries
    return entries


def _parsed(data: bytes | None) -> dict[str, Entry]:
    try:
        index = _Index.model_validate_json(data or b"")
    except ValidationError:
        return {}
    return index.entries if index.format_version == FORMAT_VERSION else {}


def write_index(layout: Layout, storage: Storage, entries: Mapping[str, Entry]) -> None:
    """Replace the index; do nothing where it cannot be written, as by a user who may only read."""
    index = _Index(format_version=FORMAT_VERSION, entries=dict(sorted(entries.items())))
    with contextlib.suppress(ScoringError, OSError):
        write(storage, layout.index, index.model_dump_json().encode())


def version_of(listed: ObjectInfo) -> str:
    """Return the mark in the listing that another version of the object will not have."""
    return f"{listed.bytes}-{listed.etag}"


def read_entries(manifests: Iterable[ObjectInfo], storage: Storage) -> dict[str, Entry]:
    """Read manifests, several at once; without those that were removed since they were listed."""

    def read(listed: ObjectInfo) -> tuple[str, Entry] | None:
        data = storage.read(listed.uri)
        if data is None:
            return None
        summary = ManifestSummary.of(parse_manifest(data, listed.uri))
        return listed.uri, Entry(version=version_of(listed), summary=summary)

    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        return dict(found for found in threads.map(read, manifests) if found)
