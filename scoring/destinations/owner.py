"""The owner of a destination: the job of the manifests that are published there."""

from __future__ import annotations

from collections.abc import Iterator
from glob import escape

from scoring.destinations.layout import NEXT, Layout
from scoring.destinations.manifest import Manifest
from scoring.destinations.published import published
from scoring.errors import DestinationTakenError
from scoring.job.schema import Job
from scoring.storage.base import Storage


def check_owner(layout: Layout, storage: Storage, path: str, job: Job) -> Manifest | None:
    """Return the manifest of the partition at ``path``, where ``job`` may publish; None if there is
    none.

    Raises DestinationTakenError where another job has published. Three manifests decide: that of
    the partition, the first and the last one. All that a job publishes after this check are its
    own.
    """
    own: Manifest | None = None
    for other in _asked(layout, storage, path):
        found = published(layout, storage, other)
        if found is None:
            continue
        if not job.is_own(found.job):
            raise DestinationTakenError(
                f"{job.name} publishes to {layout.uri}, and what is published there is the job "
                f"{found.job}'s, such as {found.partition}. It was left as it is, and nothing of "
                f"{job.name} was published. Give {job.name} a destination of its own. If "
                f"{found.job} is what {job.name} was called before, list it: destination: "
                f"{{former_names: [{found.job}]}}"
            )
        if other == path:
            own = found
    return own


def _asked(layout: Layout, storage: Storage, path: str) -> Iterator[str]:
    yield path
    found = storage.find(f"{escape(layout.manifests)}/*.json")
    files = (f.uri.rpartition("/")[2].removesuffix(".json") for f in found)
    others = sorted({file.partition(NEXT)[0] for file in files} - {path})
    yield from dict.fromkeys([*others[:1], *others[-1:]])
