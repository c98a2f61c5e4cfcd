"""The commands of ``scoring plan`` make exactly the runs of the partitions that it names."""

from __future__ import annotations

import shlex
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk import timezone
from airflow.serialization.serialized_objects import DagSerialization
from scoring_airflow import job_dag

from scoring.job.loader import load_job
from scoring.job.partitions import partition_at, partitions_between
from scoring.monitoring.plan import Stretch, backfill_command
from tests import small_job


@pytest.mark.parametrize(
    ("kind", "cron", "first", "last", "zone"),
    [
        ("month", "0 3 2 * *", "2013-02", "2013-12", "UTC"),
        ("month", "0 3 2 * *", "2013-04", "2013-04", "America/New_York"),
        ("month", "0 20 28 * *", "2013-02", "2013-03", "Pacific/Kiritimati"),
        ("month", "0 0 1 * *", "2013-12", "2014-01", "Pacific/Kiritimati"),
        ("week", "0 3 * * 2", "2013-W06", "2013-W08", "America/New_York"),
        ("week", "0 23 * * 0", "2013-W06", "2013-W07", "America/New_York"),
        ("day", "0 3 * * *", "2013-03-10", "2013-03-11", "America/New_York"),
        ("hour", "15 * * * *", "2013-11-03T01-0500", "2013-11-03T02-0500", "America/New_York"),
    ],
)
def test_a_backfill_scores_what_is_planned_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    cron: str,
    first: str,
    last: str,
    zone: str,
) -> None:
    monkeypatch.setenv("SCORING_DATA", "/data")
    starts = {
        "month": "2013-01",
        "week": "2013-W01",
        "day": "2013-01-01",
        "hour": "2013-11-03T00-0400",
    }
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": starts[kind]}
    job_file = load_job(
        small_job.write_job(
            tmp_path,
            partition=kind, schedule=cron, start=starts[kind], end=None, timezone=zone,
            model={"versions": [version]},
        )
    )  # fmt: skip
    job = job_file.job
    stretch = Stretch(job.parse(first), job.parse(last))
    words = shlex.split(backfill_command(job, stretch))
    found = dict(zip(words[3::2], words[4::2], strict=True))
    assert found["--dag-id"] == job.name
    stored = DagSerialization.from_dict(DagSerialization.to_dict(job_dag(job_file)))
    runs = stored.iter_dagrun_infos_between(
        timezone.parse(found["--from-date"]), timezone.parse(found["--to-date"])
    )
    keys = [partition_at(run.data_interval.start, kind, ZoneInfo(zone)).key for run in runs]
    assert keys == [p.key for p in partitions_between(stretch.first, stretch.last)]
