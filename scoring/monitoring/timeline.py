"""What happened to a job over time: the figures of its published partitions, and of their evaluations.

A look lists two folders and reads one file, ``_timeline.json``, for any number of partitions. That file
is like the index of coverage (``scoring.destinations.index``), which knows nothing of it and stays as
small as it is: an entry counts only while the listing shows the very version of the object that it
was made of, so the file can be removed at any time, and of two processes that write it at once either
may win.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError

from scoring.destinations.base import open_publisher
from scoring.destinations.index import READS_AT_ONCE, version_of
from scoring.destinations.layout import NEXT, Layout
from scoring.destinations.manifest import parse_manifest
from scoring.destinations.published import published
from scoring.errors import PublicationError, ScoringError
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.monitoring.evaluation import parse_evaluation
from scoring.monitoring.figures import EvaluationFigures, PartitionFigures
from scoring.storage.base import ObjectInfo, Storage, write
from scoring.storage.connections import Connections

FORMAT_VERSION = 1
"""A file of another format is not read: it is made again."""


@dataclass(frozen=True)
class Point:
    """A partition in the course of time: None for ``figures`` where nothing is published."""

    partition: Partition
    figures: PartitionFigures | None = None
    evaluation: EvaluationFigures | None = None

    @property
    def key(self) -> str:
        return self.partition.key

    @property
    def is_evaluated(self) -> bool:
        """Whether the evaluation is of what is published now."""
        return bool(
            self.figures
            and self.evaluation
            and self.evaluation.predictions_sha256 == self.figures.output_sha256
        )


class _Entry(BaseModel):
    """``version`` is the one of the object, by the listing, that the figures are of."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: str
    manifest: PartitionFigures | None = None
    evaluation: EvaluationFigures | None = None


class _File(BaseModel):
    format_version: int
    entries: dict[str, _Entry]


def timeline(
    job: Job, roots: Roots, connections: Connections, partitions: Sequence[Partition]
) -> list[Point]:
    """Return what is known of each of ``partitions``, in their order.

    What another job has published at the destination is nothing of this one.
    """
    publisher = open_publisher(job, roots, connections)
    storage = connections.storage(publisher.uri, job.destination.encryption)
    if getattr(publisher, "catalog", None) is None:  # a kind whose manifests cannot be listed
        manifests = {m.partition: PartitionFigures.of(m) for m in publisher.all_published()}
        found = _Objects(
            Layout(publisher.uri), storage, storage.listing(f"{publisher.evaluations}/")
        )
        evaluations = found.evaluations()
    else:
        found = _read(Layout.of(job, roots), storage)
        manifests, evaluations = found.manifests(), found.evaluations()
    return [_point(one, job, manifests, evaluations) for one in partitions]


def _point(
    partition: Partition,
    job: Job,
    manifests: Mapping[str, PartitionFigures],
    evaluations: Mapping[str, EvaluationFigures],
) -> Point:
    figures, evaluation = manifests.get(partition.key), evaluations.get(partition.key)
    return Point(
        partition,
        figures if figures and job.is_own(figures.job) else None,
        evaluation if evaluation and job.is_own(evaluation.job) else None,
    )


def _read(layout: Layout, storage: Storage) -> _Objects:
    """Return all manifests and evaluations; bring the file up to date where that is possible.

    Where an object was read, everything is listed again: only what both listings agree on is kept.
    """
    known = _parsed(storage.read(layout.timeline))
    found = _Objects.listed(layout, storage)
    found.take(known)
    if found.read():
        again = _Objects.listed(layout, storage)
        again.take(found.entries)
        if again.entries and again.entries != known:
            _write(layout, storage, again.entries)
        again.read()
        return again
    return found


def _parsed(data: bytes | None) -> dict[str, _Entry]:
    try:
        found = _File.model_validate_json(data or b"")
    except ValidationError:
        return {}
    return found.entries if found.format_version == FORMAT_VERSION else {}


def _write(layout: Layout, storage: Storage, entries: Mapping[str, _Entry]) -> None:
    """Replace the file; do nothing where it cannot be written, as by a user who may only read."""
    file = _File(format_version=FORMAT_VERSION, entries=dict(sorted(entries.items())))
    with contextlib.suppress(ScoringError, OSError):
        write(storage, layout.timeline, file.model_dump_json(exclude_defaults=True).encode())


@dataclass
class _Objects:
    """The manifests and evaluations of a destination, as they are listed at one moment.

    ``entries`` are those whose figures are known, by URI below the destination.
    """

    layout: Layout
    storage: Storage
    objects: list[ObjectInfo]
    entries: dict[str, _Entry] = field(default_factory=dict)

    @classmethod
    def listed(cls, layout: Layout, storage: Storage) -> _Objects:
        folders = (layout.manifests, layout.evaluations)
        return cls(layout, storage, [one for of in folders for one in storage.listing(f"{of}/")])

    def take(self, entries: Mapping[str, _Entry]) -> None:
        """Take those of ``entries`` that are of the objects which are listed."""
        for one in self._wanted():
            entry = entries.get(self._name(one.uri))
            if entry and entry.version == version_of(one):
                self.entries[self._name(one.uri)] = entry

    def read(self) -> bool:
        """Read what has no entry yet; return whether there was any."""
        unread = [one for one in self._wanted() if self._name(one.uri) not in self.entries]
        with ThreadPoolExecutor(READS_AT_ONCE) as threads:
            for one, entry in zip(unread, threads.map(self._entry, unread), strict=True):
                if entry is not None:
                    self.entries[self._name(one.uri)] = entry
        return bool(unread)

    def manifests(self) -> dict[str, PartitionFigures]:
        """Return the figures of what is published, by the key of the partition."""
        found = {e.manifest.partition: e.manifest for e in self.entries.values() if e.manifest}
        for path in {self.layout.path_of(one.uri) for one in self.objects if NEXT in one.uri}:
            # A publication is under way, or was killed.
            manifest = published(self.layout, self.storage, path)
            if manifest is not None:
                found[manifest.partition] = PartitionFigures.of(manifest)
        return found

    def evaluations(self) -> dict[str, EvaluationFigures]:
        """Return the figures of evaluations, by the key of the partition."""
        self.read()
        return {e.evaluation.partition: e.evaluation for e in self.entries.values() if e.evaluation}

    def _wanted(self) -> Iterable[ObjectInfo]:
        return [one for one in self.objects if one.uri.endswith(".json") and NEXT not in one.uri]

    def _name(self, uri: str) -> str:
        return uri.removeprefix(f"{self.layout.uri}/")

    def _entry(self, listed: ObjectInfo) -> _Entry | None:
        """Read one; None where it was removed since it was listed, or is an evaluation that is none:
        that can be evaluated again, and hides no other figure.
        """
        data = self.storage.read(listed.uri)
        if data is None:
            return None
        version = version_of(listed)
        if listed.uri.startswith(f"{self.layout.manifests}/"):
            manifest = parse_manifest(data, listed.uri)
            return _Entry(version=version, manifest=PartitionFigures.of(manifest))
        try:
            evaluation = parse_evaluation(data, listed.uri)
        except PublicationError:
            return _Entry(version=version)
        return _Entry(version=version, evaluation=EvaluationFigures.of(evaluation))
