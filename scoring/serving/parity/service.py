"""A scoring service as what a partition is compared with: over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from scoring.destinations.manifest import Manifest
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.serving.parity.answered_rows import AnsweredRows, read_answer
from scoring.serving.parity.client import Body, Client
from scoring.serving.parity.peer import Peer
from scoring.serving.parity.request_bodies import arrow_body, csv_body, json_body

_BODIES: dict[str, Callable[[pa.Table], Body]] = {
    "json": json_body,
    "csv": csv_body,
    "arrow": arrow_body,
}


@dataclass(frozen=True)
class ServiceOptions:
    """How a service is asked; ``token`` is a secret, and in no message."""

    url: str
    token: str | None = None
    arrow: bool = False
    rows_per_request: int = 1_000
    connections: int = 4

    @contextmanager
    def open(self, job: Job, partition: Partition, manifest: Manifest) -> Iterator[Peer]:
        """Yield the service: it is asked for the version of ``manifest`` and the partition's rules."""
        parameters = {"as_of": partition.key}
        if job.model:
            parameters["version"] = manifest.model.version
        with Client(self.url, job.name, self.token, self.connections) as client:
            yield _Service(client, parameters)


class _Service:
    def __init__(self, client: Client, parameters: dict[str, str]) -> None:
        self._client = client
        self._parameters = parameters
        self.url = client.url

    def ask(self, rows: pa.Table, kind: str, types: pa.Schema) -> AnsweredRows:
        body = self._client.predict(_BODIES[kind](rows), self._parameters)
        return read_answer(body, rows.num_rows, types)

    def stop(self) -> None:
        self._client.stop()
