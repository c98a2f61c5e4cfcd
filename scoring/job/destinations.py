"""Detection of jobs with overlapping destinations, which would replace each other's publications.

Only job files that are read together are compared.  At publication, the manifests at the
destination are checked too (``scoring.destinations.owner``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from scoring.job.loader import JobFile
from scoring.registry import DESTINATIONS


class Destinations:
    """The destinations of job files, each of one job."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobFile] = {}
        self._around: dict[str, JobFile] = {}  # folders that have a destination in them

    def add(self, file: JobFile, data: str | None = None) -> JobFile | None:
        """Add the destination of ``file``, or return a job with an overlapping one.

        Destinations overlap if they are the same folder, or one is within the other.  Raises
        JobError as ``JobFile.roots`` does.
        """
        if file.job.destination.format not in DESTINATIONS.built_in:
            return None  # such a kind says what its URIs mean
        place = canonical(file.roots(data).expand(file.job.destination.uri))
        folders = list(_folders_of(place))
        other = self._around.get(place) or next(
            (self._jobs[folder] for folder in (place, *folders) if folder in self._jobs), None
        )
        if other is not None and other.path != file.path:
            return other
        self._jobs[place] = file
        for folder in folders:
            self._around.setdefault(folder, file)
        return None


def shared_destinations(
    files: Iterable[JobFile], data: str | None = None
) -> list[tuple[JobFile, JobFile]]:
    """Return the pairs of ``files`` with overlapping destinations, the later file first."""
    destinations, found = Destinations(), []
    for file in files:
        other = destinations.add(file, data)
        if other is not None:
            found.append((file, other))
    return found


def message(file: JobFile, other: JobFile) -> str:
    """Return the error message for ``file``, whose destination overlaps with that of ``other``."""
    return str(
        file.error(
            ("destination", "uri"),
            f"overlaps with the destination of the job {other.job.name} ({other.path.name}), "
            f"{other.job.destination.uri}; each job would replace publications of the other. Give "
            f"{file.job.name} a separate folder",
        )
    )


def canonical(uri: str) -> str:
    """Normalize a URI: resolve symbolic links on disk, and strip trailing slashes."""
    return uri.rstrip("/") if "://" in uri else os.path.realpath(uri)


def overlap(place: str, other: str) -> bool:
    """Return whether two canonical URIs are one folder, or one is within the other."""
    return place == other or place in _folders_of(other) or other in _folders_of(place)


def _folders_of(place: str) -> Iterable[str]:
    """Iterate over the parent folders of ``place``, nearest first."""
    root = place.partition("://")[0] + "://" if "://" in place else "/"
    while "/" in place:
        place = place.rpartition("/")[0]
        if len(place) <= len(root) - 1 or place + "/" == root:
            break
        yield place
    if root == "/":
        yield "/"
