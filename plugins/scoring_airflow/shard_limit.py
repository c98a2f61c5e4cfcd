"""How many shards a partition may have in Airflow: a task is mapped over at most so many values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from scoring.job.schema import Job
    from scoring.pipeline.staging import Staged


class ShardLimit:
    """Ends the extract step of a partition with too many shards: as soon as that can be known.

    ``on_rows`` and ``on_shard`` are what ``extract`` calls. Both raise AirflowFailException.
    """

    def __init__(self, job: Job) -> None:
        self._shard_rows = job.run.shard_rows
        self._name = job.name
        self._most = conf.getint("core", "max_map_length")

    def on_rows(self, rows: int, total: int | None) -> None:
        """Look at the rows that the source says it has, if it does."""
        if total is not None and total > self._most * self._shard_rows:
            shards = -(-total // self._shard_rows)
            raise self._too_many(f"{total:,} rows are {shards:,} shards", -(-total // self._most))

    def on_shard(self, shard: Staged) -> None:
        """Look at the number of a staged shard."""
        if shard.number >= self._most:
            rows = self._most * self._shard_rows
            raise self._too_many(f"there are more than {rows:,} rows", 2 * self._shard_rows)

    def _too_many(self, what: str, needed: int) -> AirflowFailException:
        return AirflowFailException(
            f"{what}, and Airflow maps a task over {self._most:,} shards at most "
            f"(core.max_map_length). Set run.shard_rows of {self._name} to {needed} or more: the "
            "memory of a score task does not depend on it. Nothing was published"
        )
