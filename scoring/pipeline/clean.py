"""Remove what killed runs have left, and no running one owns: on disk, in S3 and in TMPDIR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from scoring.destinations.attempts import DAYS_KEPT, Attempt, attempts
from scoring.destinations.base import open_publisher
from scoring.errors import PublicationError
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.pipeline.challengers import job_of_challenger
from scoring.storage.base import TreeEntry
from scoring.storage.connections import Connections
from scoring.storage.temporary import abandoned_folders


@dataclass(frozen=True)
class Leftover:
    """Something that belongs to nobody, or (``kept``) to somebody who may still need it."""

    uri: str
    bytes: int
    why: str
    kept: bool = False


def clean(
    job: Job,
    roots: Roots,
    connections: Connections,
    days_kept: float = DAYS_KEPT,
    dry_run: bool = False,
) -> list[Leftover]:
    """Remove what no living run of ``job`` owns, and say what that was; also what is kept.

    The staging of an Airflow run, and of a run on another machine, is removed when nothing in it
    has changed for ``days_kept`` days. With ``dry_run`` nothing is removed.
    """
    publisher = open_publisher(job, roots, connections)
    storage = connections.storage(publisher.staging, job.destination.encryption)
    found: list[Leftover] = []

    def remove(leftover: Leftover, how: Callable[[], None]) -> bool:
        try:
            if not dry_run:
                how()
        except PublicationError:  # somebody has taken it up meanwhile
            return False
        found.append(leftover)
        return True

    def keep(attempt: Attempt) -> None:
        found.append(Leftover(attempt.uri, attempt.bytes, "a run may still need it", kept=True))

    def at_work() -> set[str]:
        """Remove the abandoned attempts; the partitions of those that are left."""
        paths = set()
        for attempt in attempts(storage, publisher.staging):
            why = attempt.why_abandoned(storage, days_kept)
            how = lambda attempt=attempt: attempt.remove(storage)  # noqa: E731
            if not why or not remove(Leftover(attempt.uri, attempt.bytes, why), how):
                keep(attempt)
                paths.add(attempt.path)
        return paths

    left: list[tuple[TreeEntry, Callable[[], None]]] = []
    busy = cache(at_work)
    beside = [job_of_challenger(job, version) for version in job.version_names]
    for published in (publisher, *(open_publisher(of, roots, connections) for of in beside)):
        unpublished = getattr(published, "unpublished", None)  # a kind of destination may have it
        left += unpublished(busy) if unpublished else []
    busy()
    for entry, take_away in left:
        remove(Leftover(entry.uri, entry.bytes, "of an incomplete publication"), take_away)
    for folder in abandoned_folders():
        remove(Leftover(folder.name, folder.entry.bytes, "its process has ended"), folder.remove)
    return found
