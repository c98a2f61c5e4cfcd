"""Whether the files of a partition's source are still those that its manifest names.

Sizes, ETags and times of change are compared first, and a file is read again only where they leave
a doubt: on disk, a copy of the same bytes has another time of change.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property

from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import PARTITION_FIELDS, Roots, is_pattern
from scoring.registry import SOURCES
from scoring.sources.base import SourceFileRecord
from scoring.storage.base import ObjectInfo
from scoring.storage.connections import Connections
from scoring.storage.patterns import is_match

_FIELD_OR_PATTERN = re.compile(rf"\{{(?:{'|'.join(PARTITION_FIELDS)})\}}|[*?\[]")
_ROOT = re.compile(r"^(\{data\}|\{models\}|s3://[^/]*)/?")


class NotComparableError(Exception):
    """The source cannot be compared with the manifest; the message says why."""


class SourceListings:
    """Listings of sources in S3 at one moment: jobs with the same source share one of them.

    Several threads may ask at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[int, str], Future[_Listed]] = {}
        self._used: list[Connections] = []  # kept, so that no other one gets the id of one of them

    def get(self, connections: Connections, prefix: str) -> _Listed:
        """Return the objects under ``prefix``; raises what the first one who asked for it got."""
        key = (id(connections), prefix)
        with self._lock:
            found, asked = self._found.get(key), key in self._found
            if found is None:
                found = self._found[key] = Future()
                self._used.append(connections)
        if not asked:
            try:
                found.set_result(_Listed(connections.storage(prefix).listing(prefix)))
            except BaseException as error:
                found.set_exception(error)
                raise
        return found.result()


@dataclass(frozen=True)
class SourceComparison:
    """Compares the source of any partition of ``job``; lists the files of all of them at once.

    With ``digests`` every file on disk is read, and compared by its digest. Jobs that are looked at
    together share ``listings``.
    """

    job: Job
    roots: Roots
    connections: Connections
    digests: bool = False
    listings: SourceListings = field(default_factory=SourceListings)

    def change(self, partition: Partition, recorded: Sequence[SourceFileRecord]) -> str | None:
        """Return what has changed, in words, since ``recorded``; None if nothing has.

        Raises NotComparableError where that cannot be known.
        """
        if not recorded:
            raise NotComparableError("the source is a query, whose rows are not compared")
        found = self._files(partition)
        if len(found) != len(recorded):
            return f"the source has {_files(len(found))}, it had {_files(len(recorded))}"
        for now, then in zip(found, recorded, strict=True):
            if _name(now.uri) != _name(then.uri):
                return f"the source has {_name(now.uri)}, where it had {_name(then.uri)}"
            if now.bytes != then.bytes:
                return f"{now.uri} has {now.bytes:,} bytes, it had {then.bytes:,}"
            if not self._is_same(now, then):
                return f"{now.uri} has other bytes"
        return None

    @property
    def is_comparable(self) -> bool:
        """Whether the source is of files that can be listed, and so compared at all."""
        try:
            return bool(self._template)
        except NotComparableError:
            return False

    def is_there(self, partition: Partition) -> bool:
        """Return whether the files of ``partition`` are there, of a source that is comparable."""
        try:
            return bool(self._files(partition))
        except NotComparableError:
            return False

    def _is_same(self, now: ObjectInfo, then: SourceFileRecord) -> bool:
        if now.etag is not None and then.etag is not None:
            if now.etag == then.etag or then.sha256 is None:
                return now.etag == then.etag
        elif then.sha256 is None:
            return True  # the sizes are all that can be compared
        elif not self.digests:
            times = {now.modified_ns, then.modified_ns}
            if None in times or len(times) == 1:
                return True
        return self.connections.readable_storage(now.uri).sha256(now.uri) == then.sha256

    def _files(self, partition: Partition) -> list[ObjectInfo]:
        every_day = self.job.source.outside_partition == "leave_out"
        if self._listed is not None and not every_day and not is_pattern(self._template):
            one = self._listed.get(self.roots.expand(self._template, partition))
            if one is not None:  # by far the most usual case, which needs no patterns
                return [one]
        patterns = self.roots.source_patterns(self._template, partition, every_day)
        found: list[ObjectInfo] = []
        for pattern in patterns.values():
            files = self._find(pattern)
            if not files:
                raise NotComparableError("the source is no longer there")
            found += files
        return found

    def _find(self, pattern: str) -> list[ObjectInfo]:
        if self._listed is None:
            return self.connections.readable_storage(pattern).find(pattern)
        return self._listed.find(pattern)

    @cached_property
    def _template(self) -> str:
        source = self.job.source
        if source.uri is None:
            raise NotComparableError("the source is a query, whose rows are not compared")
        if source.uri.startswith("https://"):
            raise NotComparableError("the source is read over https, and is not downloaded again")
        if source.file_format not in SOURCES.built_in:
            raise NotComparableError(f"the source is of the kind {source.file_format}")
        return source.uri

    @cached_property
    def _listed(self) -> _Listed | None:
        """Return the files of all partitions; None on disk, and where the URI template begins with a
        field, so that far more than the source would be listed.
        """
        fixed = _FIELD_OR_PATTERN.split(self._template, maxsplit=1)[0]
        uri = self.roots.expand(f"{fixed}x")[:-1]  # a folder keeps its slash
        if not uri.startswith("s3://") or not _ROOT.sub("", fixed):
            return None
        return self.listings.get(self.connections, uri)


class _Listed:
    """Objects sorted by URI, in which patterns are found as the storage would find them."""

    def __init__(self, objects: list[ObjectInfo]) -> None:
        self._objects = objects
        self._uris = [found.uri for found in objects]

    def get(self, uri: str) -> ObjectInfo | None:
        place = bisect_left(self._uris, uri)
        return self._objects[place] if self._uris[place : place + 1] == [uri] else None

    def find(self, pattern: str) -> list[ObjectInfo]:
        fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        first = bisect_left(self._uris, fixed)
        last = bisect_left(self._uris, fixed + "\U0010ffff")
        within = self._objects[first:last]
        exact = [found for found in within if found.uri == pattern]
        return exact or [found for found in within if is_match(found.uri, pattern)]


def _name(uri: str) -> str:
    return uri.rpartition("/")[2]


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"
