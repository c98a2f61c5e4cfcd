"""What killed runs leave, on disk, in S3 and in TMPDIR: the next run and ``clean`` remove it, and
nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from devstack.services.object_store import ObjectStore
from scoring.cli.main import main
from scoring.destinations import attempts as attempts_module
from scoring.destinations.attempts import OWNER, Owner
from scoring.pipeline.clean import Leftover, clean
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.local import score_partition
from scoring.pipeline.verify import verify_partition
from scoring.storage.base import write
from scoring.storage.temporary import TemporaryFolder, abandoned_folders
from tests.s3_server import BUCKET, keys, uploads
from tests.scoring.factories import Place, extracted, in_s3, rows, scored

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")

ROWS = 2500
WAITING = """
import pathlib, time
here = pathlib.Path(__file__).parent
def run(df, model):
    (here / "arrived").touch()
    while (here / "closed").exists():
        time.sleep(0.01)
    return df.assign(y=model.predict(df))[["y"]]
"""


@pytest.fixture
def large(empty: Place) -> Place:
    """A folder with a month of three shards, its model, and a scorer that waits while ``closed`` is
    there.
    """
    empty.source(rows(ROWS, x=[None, *map(float, range(2, ROWS + 1))]))
    empty.source(rows(1500), "2013-03.parquet")
    empty.model()
    return empty


def waiting_job(place: Place) -> Any:
    return place.job(scorer=place.scorer(WAITING))


class Living:
    """A run in a process of its own, whose scorers wait until ``closed`` is removed."""

    def __init__(self, place: Place, run: PartitionContext) -> None:
        self.closed, self.arrived = place.folder / "closed", place.folder / "arrived"
        self.closed.touch()
        self.arrived.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                score_partition(run, {"by": "test"}, workers=2)
                status = 0
            finally:
                os._exit(status)
        while not self.arrived.exists():
            time.sleep(0.01)

    def kill(self) -> None:
        """The process alone, as the kernel does when memory runs out; its children notice."""
        children = psutil.Process(self.pid).children(recursive=True)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        psutil.wait_procs(children)

    def end(self) -> int:
        self.closed.unlink()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def killed_after(seconds: float, function: Callable[[], Any]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    time.sleep(seconds)
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    psutil.wait_procs(children)


def staged(s3: Any) -> list[str]:
    return keys(s3, "lake/out/_staging/") + uploads(s3)


@pytest.fixture
def lake(large: Place, s3: Any) -> Place:
    for path in large.data.rglob("*"):
        if path.is_file():
            key = f"lake/{path.relative_to(large.data).as_posix()}"
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    return large


def shell_run(place: Place, name: str, **changes: Any) -> PartitionContext:
    return in_s3(place, f"shell-{name}", **changes)


# --- in S3 -------------------------------------------------------------------------------------


def test_the_next_run_removes_what_killed_runs_have_staged_in_s3(lake: Place, s3: Any):
    left = 0
    for number in range(8):
        run = shell_run(lake, str(number))
        killed_after(0.05 + number * 0.09, lambda run=run: score_partition(run, {}, workers=2))
        left += bool(staged(s3))
    assert left > 2, "the kills have hit runs at work"
    manifest = score_partition(shell_run(lake, "next"), {"by": "test"}, workers=1)
    assert manifest.rows.scored == ROWS - 1
    assert staged(s3) == []
    assert [key for key in keys(s3, "lake/out/_manifests/") if ".next-" in key] == []
    assert len(keys(s3, "lake/out/_quarantine/")) == 1


def test_the_command_removes_it_in_s3_too_and_a_living_run_goes_on(
    lake: Place, s3: Any, s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    for name, value in s3_server.shell_environment.items():
        monkeypatch.setenv(name, value)
    file = waiting_job(lake)
    march = file.job.parse(
        "2013-03"
    )  # the next run of February would remove what one of February left
    dead = replace(shell_run(lake, "dead"), job_file=file, partition=march)
    Living(lake, dead).kill()
    living = replace(shell_run(lake, "living"), job_file=file)
    other = Living(lake, living)
    s3.create_multipart_upload(Bucket=BUCKET, Key="lake/out/month=2013-07/predictions.parquet")
    of_airflow = in_s3(lake, "scheduled__2013-03-02-ab12cd34")
    scored(of_airflow, extracted(of_airflow))
    before = staged(s3)
    command = ["clean", str(file.path), "--data", "s3://scoring/lake", "--json"]
    assert main([*command, "--dry-run"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert staged(s3) == before
    assert main(command) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["bytes"] == document["bytes"] > 0
    assert {f["uri"]: f["removed"] for f in done["found"]} == {
        dead.staging: True,
        living.staging: False,
        of_airflow.staging: False,
        "s3://scoring/lake/out/month=2013-03/predictions.parquet?upload": True,
        "s3://scoring/lake/out/month=2013-07/predictions.parquet?upload": True,
    }
    of_the_dead = ("shell-dead", "out/month=2013-03/", "out/month=2013-07/")
    assert staged(s3) == [key for key in before if not any(part in key for part in of_the_dead)]
    assert other.end() == 0
    assert [key for key in staged(s3) if "scheduled__" not in key] == []
    assert keys(s3, "lake/out/month=2013-02/") == ["lake/out/month=2013-02/predictions.parquet"]


def test_what_killed_publishers_have_left_goes_with_the_command(lake: Place, s3: Any):
    run = shell_run(lake, "one")
    manifest = score_partition(run, {}, workers=1)
    published = keys(s3, "lake/out/")
    folder = "lake/out/_quarantine/month=2013-02"
    s3.put_object(Bucket=BUCKET, Key=f"{folder}/0123456789abcdef.parquet", Body=b"x" * 100)
    s3.copy_object(
        Bucket=BUCKET,
        Key="lake/out/_manifests/month=2013-02.next-0123456789abcdef.json",
        CopySource=f"{BUCKET}/lake/out/_manifests/month=2013-02.json",
    )
    upload = {"Bucket": BUCKET, "Key": "lake/out/month=2013-02/predictions.parquet"}
    begun = s3.create_multipart_upload(**upload)["UploadId"]
    s3.upload_part(**upload, UploadId=begun, PartNumber=1, Body=b"y" * 1000)
    found = clean(run.job, run.roots, run.connections)
    assert sum(f.bytes for f in found) > 1100
    assert keys(s3, "lake/out/") == published
    assert uploads(s3) == []
    assert run.publisher.published(run.partition) == manifest


def test_another_machine_cannot_be_asked_and_is_left_alone_for_days(lake: Place, s3: Any):
    run = shell_run(lake, "elsewhere")
    extracted(run)
    elsewhere = Owner.this_process().model_copy(update={"host": "elsewhere", "pid": 1 << 22})
    write(run.storage, f"{run.staging}{OWNER}", elsewhere.model_dump_json().encode())
    before = staged(s3)
    (kept,) = clean(run.job, run.roots, run.connections)
    assert (kept.uri, kept.kept) == (run.staging, True)
    score_partition(shell_run(lake, "next"), {}, workers=1)
    assert staged(s3) == before
    (gone,) = clean(run.job, run.roots, run.connections, days_kept=-1)
    assert (gone.uri, gone.kept, gone.why) == (run.staging, False, "unchanged for 0 days")
    assert staged(s3) == []


# --- on disk -----------------------------------------------------------------------------------


def airflow_staging(place: Place) -> PartitionContext:
    run = place.run(place.job(), attempt="scheduled__2013-03-02-ab12cd34")
    scored(run, extracted(run))
    return run


def days_ago(run: PartitionContext, days: int) -> None:
    for path in Path(run.staging).rglob("*"):
        os.utime(path, (time.time() - days * 86_400,) * 2)


def cleaned(run: PartitionContext, **options: Any) -> dict[str, Leftover]:
    return {f.uri: f for f in clean(run.job, run.roots, run.connections, **options)}


def test_on_disk_the_command_takes_dead_attempts_and_leaves_living_ones(large: Place):
    file = waiting_job(large)
    dead = large.run(file, attempt="shell")
    of_airflow = airflow_staging(large)
    Living(large, dead).kill()
    other = large.run(file, "2013-03", attempt="shell")
    living = Living(large, other)
    found = cleaned(dead)
    assert {uri: f.kept for uri, f in found.items()} == {
        dead.staging: False, of_airflow.staging: True, other.staging: True
    }  # fmt: skip
    assert found[dead.staging].bytes > 0
    assert not Path(dead.staging).exists()
    assert not Path(f"{dead.staging}.lock").exists()
    assert living.end() == 0
    days_ago(of_airflow, 13)
    assert cleaned(dead)[of_airflow.staging].kept
    days_ago(of_airflow, 15)
    assert cleaned(dead)[of_airflow.staging].why == "unchanged for 15 days"
    assert [name for name in large.files() if "_staging" in name] == []


def test_hidden_files_of_killed_writers_go_and_those_of_living_ones_stay(large: Place):
    run = large.run()
    score_partition(run, {}, workers=1)
    published = large.files()
    hidden = large.out / "month=2013-02" / ".predictions.parquet.0123456789abcdef.tmp"
    hidden.write_bytes(b"x" * 1000)
    living = run.publisher.storage.create(f"{large.out}/month=2013-02/predictions.parquet")  # type: ignore[attr-defined]
    other = large.out / "month=2013-02" / ".predictions.parquet.fedcba9876543210.tmp"
    hidden.write_bytes(b"x" * 1000)
    found = cleaned(run)
    assert found[str(hidden)].bytes == 1000
    assert not hidden.exists()
    living.write(b"y")
    living.abort()
    assert not other.exists()
    assert large.files() == published


def test_a_lock_that_was_removed_under_a_waiting_process_is_none(tmp_path: Path):
    from scoring.storage import local

    lock = tmp_path / "lock"
    real, removed = local.fcntl.flock, []

    def flock(file: int, how: int) -> None:
        real(file, how)
        if not removed:  # by its holder, who has ended between the opening and the locking
            removed.append(lock.unlink())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local.fcntl, "flock", flock)
        with local.exclusive(str(lock), "a month"):
            assert lock.exists()
            assert local.is_held(str(lock))


# --- in TMPDIR ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_what_a_killed_verify_leaves_in_tmpdir_goes_with_the_next_run(
    large: Place, temporary: Path
):
    file = waiting_job(large)
    score_partition(large.run(file), {}, workers=1)
    (large.folder / "closed").touch()
    (large.folder / "arrived").unlink()
    pid = os.fork()
    if pid == 0:
        verify_partition(large.run(file), 1)
        os._exit(1)
    while not (large.folder / "arrived").exists():
        time.sleep(0.01)
    (folder,) = temporary.iterdir()
    assert abandoned_folders() == []  # it is at work
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (large.folder / "closed").unlink()
    while not abandoned_folders():  # its children end by themselves
        time.sleep(0.01)
    assert cleaned(large.run(file), dry_run=True)[str(folder)].bytes > 0
    assert folder.exists()
    cleaned(large.run(file))
    assert list(temporary.iterdir()) == []


def test_a_new_temporary_folder_takes_the_abandoned_ones_away_and_no_others(temporary: Path):
    abandoned = temporary / "scoring-row-ids-abcd_123"
    abandoned.mkdir()
    (abandoned / "00").write_bytes(b"x" * 100)
    of_others = [temporary / "scoring-results", temporary / "scoring-verify-2013", temporary / "x"]
    for folder in of_others:
        folder.mkdir()
    with closing(TemporaryFolder("row-ids")) as living:
        assert not abandoned.exists()
        with closing(TemporaryFolder("verify")):
            assert Path(living.name).exists()
    assert sorted(temporary.iterdir()) == sorted(of_others)


# --- whose ------------------------------------------------------------------------------------


def test_a_process_is_distinguished_from_another_one_with_its_number():
    ours = Owner.this_process()
    assert ours.is_gone() is False
    assert ours.model_copy(update={"started": "1"}).is_gone() is True
    assert ours.model_copy(update={"pid": 1 << 22}).is_gone() is True
    for field in ("host", "boot_id", "pid_namespace"):
        assert ours.model_copy(update={field: "another"}).is_gone() is None


def test_where_the_kernel_does_not_say_it_nobody_is_gone(monkeypatch: pytest.MonkeyPatch):
    ours = Owner.this_process()
    monkeypatch.setattr(
        attempts_module, "_where", lambda: {"host": ours.host, "boot_id": "", "pid_namespace": ""}
    )
    assert Owner.this_process().is_gone() is None
