"""How a job's files and databases are reached: an object that is passed to whatever opens one.

Nothing of it is kept in the process, so two jobs with different connections can work side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from scoring.errors import needs_extra
from scoring.storage.base import Encryption, ReadableStorage, Storage


class Connections:
    """The connections of one job; handed to another process, it makes clients of its own there.

    ``s3_client`` makes the boto3 client for ``s3://`` URIs; None means boto3's own chain of
    credentials. ``database`` returns the ``Database`` behind a ``conn_id``; None means the
    environment variable in which Airflow would look for the connection. ``mlflow`` returns the
    ``MlflowServer``; None means the environment variables of MLflow's own client. All must be
    picklable where a partition is scored by several processes.
    """

    def __init__(
        self,
        s3_client: Callable[[], Any] | None = None,
        database: Callable[[str], Any] | None = None,
        mlflow: Callable[[], Any] | None = None,
    ) -> None:
        self.s3_client = s3_client
        self.database = database
        self.mlflow = mlflow
        # By process: a fork that used its parent's client would read the parent's answers.
        self._clients: dict[int, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Connections, (self.s3_client, self.database, self.mlflow)

    def storage(self, uri: str, encryption: Encryption | None = None) -> Storage:
        """Return the storage of ``uri``; ``encryption`` is what S3 does with objects written
        through it.
        """
        if not uri.startswith("s3://"):
            from scoring.storage.local import LocalStorage

            return LocalStorage()
        with needs_extra("s3", "files in S3"):
            from scoring.storage.s3.storage import S3Storage

        return S3Storage(self._client(), encryption.parameters if encryption else {})

    def readable_storage(self, uri: str) -> ReadableStorage:
        """Return the storage that the source ``uri`` lies in: those of ``storage``, and https."""
        if uri.startswith("https://"):
            from scoring.storage.https.storage import HttpsStorage

            return HttpsStorage()
        return self.storage(uri)

    def _client(self) -> Any:
        process = os.getpid()
        if process not in self._clients:
            from scoring.storage.s3.client import default_client

            self._clients[process] = (self.s3_client or default_client)()
        return self._clients[process]
