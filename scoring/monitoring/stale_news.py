"""Which published partitions have become stale since that was last asked, so that each is news once.

What is known already is a small record beside the index. It can be removed at any time, and then all
that is stale is news once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import RootModel, ValidationError

from scoring.destinations.layout import Layout
from scoring.job.loader import JobFile
from scoring.job.partitions import Partition
from scoring.job.uri_templates import Roots
from scoring.monitoring.coverage import Covered, coverage, finished_partitions
from scoring.storage.base import Storage, write
from scoring.storage.connections import Connections


class _Known(RootModel[dict[str, list[str]]]):
    """The reasons for which a partition is stale, by its key."""


@dataclass(frozen=True)
class StaleNews:
    """``partitions`` are stale, and were not, or for another reason, when it was last remembered."""

    partitions: list[Covered]
    _known: dict[str, list[str]]
    _stale: dict[str, list[str]]
    _uri: str
    _storage: Storage

    def remember(self) -> None:
        """Record all that is stale: it is news again only after it was not, or for another reason."""
        if self._stale != self._known:
            write(self._storage, self._uri, _Known(self._stale).model_dump_json().encode())


def stale_news(
    job_file: JobFile, roots: Roots, connections: Connections, now: datetime, but: Partition
) -> StaleNews:
    """Return what has become stale of the partitions that have ended by ``now``, without ``but``,
    which was published just now as somebody wanted it.
    """
    job, layout = job_file.job, Layout.of(job_file.job, roots)
    storage = connections.storage(layout.uri, job.destination.encryption)
    every = coverage(job_file, roots, connections, finished_partitions(job, now))
    stale = [covered for covered in every if covered.state == "stale"]
    reasons = {one.partition.key: [reason.detail for reason in one.reasons] for one in stale}
    known = _known(storage.read(layout.stale))
    news = [
        one
        for one in stale
        if one.partition != but and reasons[one.partition.key] != known.get(one.partition.key)
    ]
    return StaleNews(news, known, reasons, layout.stale, storage)


def _known(data: bytes | None) -> dict[str, list[str]]:
    try:
        return _Known.model_validate_json(data or b"{}").root
    except ValidationError:
        return {}
