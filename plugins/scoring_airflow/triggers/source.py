"""SourceTrigger: looks for a source that is late, in the triggerer, so that no worker has to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from scoring.errors import SourceError
from scoring_airflow.connections import airflow_connections


class SourceTrigger(BaseTrigger):  # type: ignore[misc]  # mypy does not read Airflow
    """Fires when an object is at ``uri``, else at ``until``; the event has ``found`` and both
    moments.

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
        """Return whether the source is there; a failed look is logged, since the next one may
        succeed.
        """
        storage = airflow_connections(self.aws_conn_id).readable_storage(self.uri)
        try:
            return bool(storage.find(self.uri))
        except (SourceError, OSError) as error:
            self.log.warning(f"Source check failed, will retry: {error}")
            return False
