"""The default job on the stack, S3 in and out: the bytes are those of the laptop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import yaml

from deploy import healthcheck, load_data
from devstack.services import predictions
from tests import shell
from tests.integration.distributed import jobs
from tests.integration.distributed.cluster import Cluster

DESTINATION = "predictions/flight_delay"
TASKS_OF_A_MONTH = {
    "extract": 1,
    "score": 2,
    "upload": 1,
}  # 24,951 to 29,425 flights, 15,000 a shard


def test_the_job_file_is_the_default_one_but_for_the_size_of_shards(cluster: Cluster) -> None:
    default = yaml.safe_load(Path("dags/jobs/flight_delay.yaml").read_text())
    used = yaml.safe_load((cluster.dags / "jobs" / "flight_delay.yaml").read_text())
    assert used["run"].pop("shard_rows") == 15_000
    assert used == default


def test_catchup_on_the_stack_publishes_the_bytes_of_the_laptop(cluster: Cluster) -> None:
    cluster.unpause("flight_delay")
    cluster.succeeded("flight_delay", len(jobs.ELEVEN))
    tasks = cluster.tasks("flight_delay")
    assert Counter(task.task_id for task in tasks) == {
        name: count * len(jobs.ELEVEN) for name, count in TASKS_OF_A_MONTH.items()
    }
    assert {(task.state, task.try_number) for task in tasks} == {("success", 1)}
    scored_by = Counter(cluster.worker_of(task) for task in tasks if task.task_id == "score")
    assert set(scored_by) == set(cluster.stack.workers), scored_by

    workers = [cluster.service(name).process.pid for name in cluster.stack.workers]
    children = [child for worker in workers for child in psutil.Process(worker).children()]
    # Those that have watched a task, which was a fork of theirs, and ended without being interrupted.
    watched = [p for p in children if p.cmdline()[0].startswith("airflow supervisor")]
    assert len(watched) >= len(workers), [p.cmdline() for p in children]
    assert {os.sched_getscheduler(p.pid) for p in watched} == {os.SCHED_BATCH}

    on_laptop = cluster.score_on_laptop("flight_delay", jobs.ELEVEN)
    for month, (expected, by_shell) in on_laptop.items():
        data, manifest = cluster.published(DESTINATION, month)
        assert data == expected, month
        sources = manifest.pop("source"), by_shell.pop("source")
        assert shell.record_the_same(manifest, by_shell)
        for name in ("rows", "bytes"):  # its mark is a digest on disk, an ETag in S3
            assert sources[0][name] == sources[1][name]
        assert manifest["output"]["uri"].startswith("s3://scoring/")
    wanted = 3 * len(jobs.ELEVEN) + 1  # predictions, manifest, quarantine of each; the column types
    assert len(cluster.objects(DESTINATION)) == wanted
    assert cluster.uploads() == []


def in_its_shell(cluster: Cluster, arguments: str) -> str:
    """What ``scoring`` prints in a shell that has read ``airflow.env`` and knows nothing else."""
    command = f". {cluster.home.shell_environment} && exec {sys.executable} -m scoring {arguments}"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SCORING_"))}
    done = subprocess.run(
        ["bash", "-c", command], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shell_of_the_stack_shows_what_is_published(cluster: Cluster) -> None:
    """``airflow.env`` is enough for ``python -m scoring`` to read the bucket."""
    printed = in_its_shell(cluster, "show flight_delay 2013-05")
    assert "s3://scoring/predictions/flight_delay/month=2013-05/predictions.parquet" in printed


def test_the_service_of_the_stack_answers_with_the_published_bits(cluster: Cluster) -> None:
    """As ``make stack SERVE=1`` starts it: job files, models and what is published are in S3."""
    service = predictions.start(
        cluster.dags / "jobs", cluster.home, cluster.stack.secrets, cluster.stack.object_store,
        cluster.supervisor,
    )  # fmt: skip
    log = cluster.home.logs / "serve.log"
    port = str(service.port)
    cluster.supervisor.wait_until(
        lambda: healthcheck.problem("serve", {}, port) is None, "serve", log
    )
    try:
        asked = subprocess.run(["bash", "-c", service.request], capture_output=True, text=True)
        assert json.loads(asked.stdout)["rows"][0]["status"] == "scored", asked.stderr
        options = f"--url {service.url} --token-file {service.token} --arrow --json"
        printed = in_its_shell(cluster, f"parity flight_delay 2013-05 {options}")
        rows = json.loads(printed)["rows"]
        assert (rows["scored"], rows["quarantined"]) == (28_233, 563)
        assert cluster.stack.secrets.serve_token not in log.read_text()
    finally:
        cluster.supervisor.end(["serve"], predictions.GRACE_SECONDS)


def test_data_that_is_loaded_is_not_loaded_again(cluster: Cluster) -> None:
    key = "models/flight_delay/v1.skops"
    before = cluster.objects("flights") | cluster.objects("models")
    assert load_data.load(cluster.laptop, cluster.environment) == []
    assert cluster.objects("flights") | cluster.objects("models") == before
    cluster.s3.delete_object(Bucket=cluster.bucket, Key=key)
    assert load_data.load(cluster.laptop, cluster.environment) == [f"s3://scoring/{key}"]
    assert cluster.get(key) == (cluster.laptop / key).read_bytes()


def test_data_goes_below_the_prefix_of_the_installation(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "v1.skops").write_bytes(b"a model")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "x.parquet").write_bytes(b"is made by the stack")
    elsewhere = {**cluster.environment, "SCORING_DATA": "s3://scoring/team/data"}
    assert load_data.load(tmp_path, elsewhere) == ["s3://scoring/team/data/models/v1.skops"]
    assert list(cluster.objects("team")) == ["team/data/models/v1.skops"]
    assert cluster.get("team/data/models/v1.skops") == b"a model"
