"""The timetable of a job's Dag: one data interval a partition, and runs that are named after it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.utils.types import DagRunType
from pendulum import instance

from scoring.job.partitions import Kind, partition_at

if TYPE_CHECKING:
    from airflow.timetables.base import DagRunInfo, DataInterval
    from pendulum import DateTime

BY_DATE = (DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB)
"""Runs that score the partition of their data interval, whatever their conf says."""


class PartitionTimetable(CronDataIntervalTimetable):  # type: ignore[misc]  # mypy does not read Airflow
    """``CronDataIntervalTimetable`` whose runs are ``scheduled__2013-05__2013-06-02T03:00:00+00:00``.

    The plugin registers it, as every process of Airflow that reads a stored Dag needs it.

    :param kind: what a data interval is named after: the month, week, day or hour it begins in.
    :param last: no data interval begins after this moment.  As the ``end_date`` of a Dag, it would
        also give a run that is triggered later no tasks, and mark it success.
    """

    def __init__(self, cron: str, timezone: Any, kind: Kind, last: datetime | None = None) -> None:
        super().__init__(cron, timezone)
        self.kind: Kind = kind
        self.last = instance(last) if last else None

    def serialize(self) -> dict[str, Any]:
        last = self.last.isoformat() if self.last else None
        return {**super().serialize(), "kind": self.kind, "last": last}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> PartitionTimetable:
        last = datetime.fromisoformat(data["last"]) if data["last"] else None
        return cls(data["expression"], data["timezone"], data["kind"], last)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PartitionTimetable):
            return NotImplemented
        return self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash((self._expression, self.kind, self.last))

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        ends = [moment for moment in (restriction.latest, self.last) if moment is not None]
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval,
            restriction=restriction._replace(latest=min(ends, default=None)),
        )

    def generate_run_id(
        self,
        *,
        run_type: DagRunType,
        run_after: DateTime,
        data_interval: DataInterval | None,
        **extra: Any,
    ) -> str:
        """Return Airflow's own name with the partition after its prefix.

        Not for a manual run: its conf may name another partition, and Airflow does not show it here.
        """
        suffix = run_after.isoformat()
        if data_interval is not None and run_type in BY_DATE:
            zone = ZoneInfo(str(self._timezone))
            suffix = f"{partition_at(data_interval.start, self.kind, zone).key}__{suffix}"
        return str(run_type.generate_run_id(suffix=suffix))
