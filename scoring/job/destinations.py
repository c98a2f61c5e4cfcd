"""Two jobs with one destination: each would take the other's publications for its own, and replace them.

Only job files that are read together are compared.  At publication, a manifest of another job at
the destination tells the same (``scoring.destinations.owner``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from scoring.job.loader import JobFile
from scoring.registry import DESTINATIONS


class Destinations:
    """The destinations of job files, to each of which one job publishes."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobFile] = {}
        self._around: dict[str, JobFile] = {}  # folders that have a destination in them

    def add(self, file: JobFile, data: str | None = None) -> JobFile | None:
        """Take note of where ``file`` publishes; or the job that publishes there already.

        There: to the same folder, to one in it, or to one that it is in.  Raises JobError as
        ``JobFile.roots`` does.
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
    """The pairs of ``files`` that publish to one place; the later file of each pair comes first."""
    destinations, found = Destinations(), []
    for file in files:
        other = destinations.add(file, data)
        if other is not None:
            found.append((file, other))
    return found


def message(file: JobFile, other: JobFile) -> str:
    """What is wrong with the destination of ``file``, which is that of ``other`` too."""
    return str(
        file.error(
            ("destination", "uri"),
            f"the job {other.job.name} ({other.path.name}) publishes to {other.job.destination.uri}, and "
            "that is the same folder, or one is within the other; each job would replace what the other "
            f"has published. Give {file.job.name} a destination of its own",
        )
    )


def canonical(uri: str) -> str:
    """One text for all URIs of a place: links on disk are followed, slashes at the end are not kept."""
    return uri.rstrip("/") if "://" in uri else os.path.realpath(uri)


def _folders_of(place: str) -> Iterable[str]:
    """The folders that ``place`` is in, from the nearest on."""
    root = place.partition("://")[0] + "://" if "://" in place else "/"
    while "/" in place:
        place = place.rpartition("/")[0]
        if len(place) <= len(root) - 1 or place + "/" == root:
            break
        yield place
    if root == "/":
        yield "/"
