"""Three years of months catch up in one go, and the same again does nothing."""

from __future__ import annotations

from collections import Counter

from tests.integration.distributed import jobs
from tests.integration.distributed.cluster import Cluster

JOB = "three_years"
DESTINATION = f"predictions/{JOB}"
MONTHS = len(jobs.MONTHS_OF_YEARS)


def test_three_years_catch_up_without_a_failed_task_and_again_is_nothing(cluster: Cluster) -> None:
    cluster.unpause(JOB)
    runs = cluster.succeeded(JOB, MONTHS)
    assert {run.run_type for run in runs} == {"scheduled"}
    tasks = cluster.tasks(JOB)
    assert Counter(task.task_id for task in tasks) == dict.fromkeys(
        ["extract", "score", "upload"], MONTHS
    )
    assert {(task.state, task.try_number) for task in tasks} == {("success", 1)}
    objects = cluster.objects(DESTINATION)
    expected = [f"{DESTINATION}/_columns.arrow"]
    for month in jobs.MONTHS_OF_YEARS:
        expected.append(f"{DESTINATION}/month={month}/predictions.parquet")
        expected.append(f"{DESTINATION}/_manifests/month={month}.json")
    assert sorted(objects) == sorted(expected)

    # The same again: unpaused once more, a scheduler that is restarted, a backfill of all the
    # months.
    cluster.unpause(JOB)
    restart_scheduler(cluster)
    message = cluster.airflow(
        "backfill", "create", "--dag-id", JOB, "--from-date", "2011-01-01", "--to-date", "2013-12-31"
    )  # fmt: skip
    cluster.wait_for("end of the backfill", lambda: backfill_is_closed(cluster))
    assert cluster.api.runs(JOB) == runs, message
    assert cluster.tasks(JOB) == tasks
    assert cluster.objects(DESTINATION) == objects


def restart_scheduler(cluster: Cluster) -> None:
    """Return when another scheduler has been at work for some rounds."""
    cluster.restart("scheduler", cluster.service("scheduler").environment)
    heartbeats = (
        "SELECT count(*) FROM job WHERE job_type = 'SchedulerJob' AND state = 'running' "
        "AND latest_heartbeat > start_date"
    )
    cluster.wait_for("new scheduler", lambda: cluster.database.execute(heartbeats) == [(1,)])


def backfill_is_closed(cluster: Cluster) -> bool:
    query = f"SELECT count(*) FROM backfill WHERE dag_id = '{JOB}' AND completed_at IS NOT NULL"
    return cluster.database.execute(query) == [(1,)]
