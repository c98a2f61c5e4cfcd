"""What a partition is compared with: something that answers rows with predictions."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from scoring.destinations.manifest import Manifest
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.serving.parity.answered_rows import AnsweredRows


class Peer(Protocol):
    """Answers the rows of one job; used by several threads at a time."""

    @property
    def url(self) -> str: ...

    def ask(self, rows: pa.Table, kind: str, types: pa.Schema) -> AnsweredRows:
        """Return the answer to ``rows``, which are sent as ``kind``; ``types`` are the published ones."""

    def stop(self) -> None:
        """End the patience of those that wait: nobody needs the answers."""


class PeerOptions(Protocol):
    """How a peer is reached. ``arrow``: rows are sent as Arrow streams."""

    @property
    def arrow(self) -> bool: ...
    @property
    def rows_per_request(self) -> int: ...
    @property
    def connections(self) -> int: ...

    def open(
        self, job: Job, partition: Partition, manifest: Manifest
    ) -> AbstractContextManager[Peer]: ...
