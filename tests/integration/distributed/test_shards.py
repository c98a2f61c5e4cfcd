"""A shard that failed is scored again alone: the others keep what they have staged."""

from __future__ import annotations

from tests import small_job
from tests.integration.distributed.cluster import Cluster, Task

JOB = "failing_shard"
MONTH = "2013-02"
BROKEN_SHARD = 1  # of three; flight 1501 is in it


def test_a_failed_shard_is_repeated_without_the_others(cluster: Cluster) -> None:
    broken = cluster.dags / "jobs" / "broken"
    broken.touch()
    cluster.unpause(JOB)
    (run,) = cluster.ended(JOB, 1)
    assert run.state == "failed"
    first = by_name(cluster.tasks(JOB))
    assert {name: task.state for name, task in first.items()} == {
        ("extract", -1): "success",
        ("score", 0): "success",
        ("score", 1): "failed",
        ("score", 2): "success",
        ("upload", -1): "upstream_failed",
    }
    assert "the second shard cannot be scored" in cluster.task_log(JOB, run.run_id, "score")
    assert not [key for key in cluster.objects(f"predictions/{JOB}") if "_staging" not in key]

    broken.unlink()
    cluster.airflow(
        "tasks", "clear", JOB, "--only-failed", "--downstream",
        "--start-date", "2013-02-01", "--end-date", "2013-02-28", "--yes",
    )  # fmt: skip
    (run,) = cluster.wait_for(
        "success", lambda: [r for r in cluster.api.runs(JOB) if r.state == "success"]
    )
    second = by_name(cluster.tasks(JOB))
    for name in [("extract", -1), ("score", 0), ("score", 2)]:
        assert second[name] == first[name], name
    assert second["score", BROKEN_SHARD].try_number == 2
    assert second["upload", -1].state == "success"
    _, manifest = cluster.published(f"predictions/{JOB}", MONTH)
    assert manifest["rows"]["in"] == small_job.MONTHS[MONTH]
    assert manifest["rows"]["quarantined"] == small_job.rows_quarantined(MONTH)


def by_name(tasks: list[Task]) -> dict[tuple[str, int], Task]:
    named = {(task.task_id, task.map_index): task for task in tasks}
    assert len(named) == len(tasks)
    return named
