"""The timetable: the same runs as Airflow's own gives, named after their partition."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.utils.types import DagRunType
from pendulum import instance
from scoring_airflow.timetable import PartitionTimetable

CASES = [
    ("month", "0 3 2 * *", "UTC", "2013-05"),
    ("month", "0 0 1 * *", "Pacific/Kiritimati", "2013-06"),
    ("week", "0 3 * * 2", "America/New_York", "2013-W19"),
    ("day", "0 3 * * *", "America/New_York", "2013-05-02"),
    ("hour", "15 * * * *", "America/New_York", "2013-05-01T20-0400"),
]
FIRST = datetime(2013, 5, 2, tzinfo=UTC)


def _infos(timetable: CronDataIntervalTimetable, latest: datetime | None) -> list[DagRunInfo]:
    """The first 30 runs, as catchup and a backfill ask for them."""
    restriction = TimeRestriction(instance(FIRST), latest and instance(latest), catchup=True)

    def runs() -> Any:
        info = None
        while info := timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=restriction):
            yield info

    return list(islice(runs(), 30))


@pytest.mark.parametrize(("kind", "cron", "zone", "key"), CASES)
def test_it_makes_the_runs_of_airflows_own(kind: Any, cron: str, zone: str, key: str) -> None:
    last = FIRST + timedelta(days=800)
    plain = CronDataIntervalTimetable(cron, zone)
    assert _infos(PartitionTimetable(cron, zone, kind), None) == _infos(plain, None)
    assert _infos(PartitionTimetable(cron, zone, kind, last), None) == _infos(plain, last)


@pytest.mark.parametrize(("kind", "cron", "zone", "key"), CASES)
@pytest.mark.parametrize("run_type", [DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB])
def test_runs_by_date_are_named_after_their_partition(
    kind: Any, cron: str, zone: str, key: str, run_type: DagRunType
) -> None:
    timetable = PartitionTimetable(cron, zone, kind)
    names = [
        timetable.generate_run_id(
            run_type=run_type, run_after=info.run_after, data_interval=info.data_interval
        )
        for info in _infos(timetable, None)
    ]
    end = _infos(timetable, None)[0].run_after.isoformat()
    assert names[0] == f"{run_type.value}__{key}__{end}"
    assert names == sorted(set(names))
    assert {DagRunType.from_run_id(name) for name in names} == {run_type}


def test_a_manual_run_is_not_as_its_conf_may_name_another_partition() -> None:
    start, end = instance(FIRST), instance(FIRST + timedelta(days=31))
    name = PartitionTimetable("0 3 2 * *", "UTC", "month").generate_run_id(
        run_type=DagRunType.MANUAL, run_after=end, data_interval=DataInterval(start, end)
    )
    assert name == "manual__2013-06-02T00:00:00+00:00"


@pytest.mark.parametrize("last", [None, datetime(2013, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_it_is_the_same_after_airflow_has_stored_it(last: datetime | None) -> None:
    timetable = PartitionTimetable("0 3 2 * *", "America/New_York", "month", last)
    stored = encode_timetable(timetable)
    assert stored["__type"] == "scoring_airflow.timetable.PartitionTimetable"
    read = decode_timetable(stored)
    assert (read, read.summary, read.description) == (
        timetable,
        timetable.summary,
        timetable.description,
    )
    assert _infos(read, None) == _infos(timetable, None)
    assert read != PartitionTimetable("0 3 2 * *", "America/New_York", "day", last)


def test_a_process_that_has_only_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, scoring_airflow.plugin\n"
        "heavy = {'pandas', 'pyarrow', 'sklearn', 'numpy', 'duckdb', 'pydantic_settings'}\n"
        "print(sorted(heavy & set(sys.modules)), 'scoring.job.schema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] False"
