"""SourceTrigger: looks for a source that is late, in the triggerer, so that no worker has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from scoring.errors import SourceError
from scoring_operators.connections import s3_client

if TYPE_CHECKING:
    from scoring.objects import ReadableStorage


class SourceTrigger(BaseTrigger):  # type: ignore[misc]  # mypy does not read Airflow
    """Fires when an object is at ``uri``, else at ``until``; the event has ``found`` and both moments.

    :param uri: a path or a URI with its fields filled in, or a pattern: one match is enough.
    :param aws_conn_id: the Airflow connection for ``s3://``; None for boto3's own chain.
    :param poke_interval_seconds: the pause between two looks.
    :param since: when the waiting began, with an offset.
    :param until: when it ends, with an offset; after it there is one more look.
    """

    def __init__(
        self,
        *,
        uri: str,
        aws_conn_id: str | None,
        poke_interval_seconds: float,
        since: datetime,
        until: datetime,
    ) -> None:
        super().__init__()
        self.uri = uri
        self.aws_conn_id = aws_conn_id
        self.poke_interval_seconds = poke_interval_seconds
        self.since = since
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("uri", "aws_conn_id", "poke_interval_seconds", "since", "until")
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {
            name: getattr(self, name) for name in names
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        found = False
        while not found:
            last = datetime.now(UTC) >= self.until
            # In a thread, as it blocks: the triggerer's loop has hundreds of other triggers to run.
            found = await asyncio.to_thread(self._is_there)
            if last:
                break
            if not found:
                left = (self.until - datetime.now(UTC)).total_seconds()
                await asyncio.sleep(max(0, min(self.poke_interval_seconds, left)))
        yield TriggerEvent(
            {
                "found": found,
                "since": self.since.isoformat(),
                "until": self.until.isoformat(),
            }
        )

    def _is_there(self) -> bool:
        """One look; what went wrong may go well the next time, so it is only logged."""
        try:
            return bool(self._storage().find(self.uri))
        except (SourceError, OSError) as error:
            self.log.warning(f"This look for the source failed, and there will be another: {error}")
            return False

    def _storage(self) -> ReadableStorage:
        from scoring.storage import readable_storage_for

        if self.aws_conn_id is None or not self.uri.startswith("s3://"):
            return readable_storage_for(self.uri)
        # Not by use_s3: triggers of jobs with other connections share this process.
        from scoring.s3 import S3Storage

        return S3Storage(s3_client(self.aws_conn_id))
