"""A machine that has too little of something: one sentence, no traceback, nothing half published."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scoring.cli.main import main
from scoring.errors import ModelError, ResourceError, ScoringError, resource_error
from tests.scoring.factories import Place, rows


def scoring(
    place: Place, *arguments: object, prepare: Callable[[], None] = lambda: None, **options: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scoring", *map(str, arguments), "--data", str(place.data)]
    done = subprocess.run(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=prepare, timeout=120,
        **({"stdout": subprocess.PIPE} | options),
    )  # fmt: skip
    lines = done.stderr.splitlines()
    if done.returncode:
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
    return done


def limit(what: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (most, most))


@pytest.mark.parametrize("files", [6, 8, 12, 16, 17, 18, 19])
def test_too_few_open_files_are_one_sentence(place: Place, files: int):
    done = scoring(
        place, "run", place.job().path, "2013-02", prepare=limit(resource.RLIMIT_NOFILE, files)
    )
    assert done.returncode in (7, 9)
    assert "Too many open files" in done.stderr
    assert not (place.out / "month=2013-02" / "predictions.parquet").exists()
    assert scoring(place, "run", place.job().path, "2013-02").returncode == 0
    assert not [name for name in place.files() if "_staging" in name or ".tmp" in name]


def test_a_limit_of_file_sizes_is_one_sentence(place: Place):
    place.source(rows(5000, x=np.random.default_rng(1).random(5000).tolist()))
    done = scoring(
        place, "run", place.job().path, "2013-02", prepare=limit(resource.RLIMIT_FSIZE, 4096)
    )
    assert done.returncode in (7, 9)
    assert "File too large" in done.stderr


def test_a_name_that_is_too_long_is_one_sentence(place: Place):
    job = place.job(destination={"uri": "{data}/" + "o" * 300}).path
    for command in (["run", job, "2013-02"], ["verify", job, "2013-02"], ["show", job, "2013-02"]):
        assert scoring(place, *command).returncode in (1, 7, 8, 9)


def test_output_that_cannot_be_written_is_one_sentence(place: Place):
    with Path("/dev/full").open("w") as full:
        done = scoring(place, "show", place.job().path, stdout=full)
    assert done.returncode == 9
    assert "No space left on device" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(("option", "status"), [("size=64k", 9), ("ro", 7)])
def test_a_temporary_folder_or_a_destination_without_room(
    place: Place, tmp_path: Path, option: str, status: int
):
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"',
    ]
    if subprocess.run([*mount, option, mounted, "true"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    place.source(rows(2_100_000))  # more than stay in memory: their ids go to TMPDIR
    changes = {} if status == 9 else {"destination": {"uri": str(mounted)}}
    job = place.job(run={"shard_rows": 3_000_000}, **changes).path
    command = [
        sys.executable,
        "-m",
        "scoring",
        "run",
        str(job),
        "2013-02",
        "--data",
        str(place.data),
    ]
    environment = os.environ | ({"TMPDIR": str(mounted)} if status == 9 else {})
    done = subprocess.run(
        [*mount, option, str(mounted), *command], env=environment, capture_output=True, text=True
    )
    assert done.returncode == status, done.stderr
    (line,) = done.stderr.splitlines()
    assert str(mounted) in line
    assert ("No space left on device" if status == 9 else "Read-only file system") in line


def test_what_may_not_be_read_is_one_line(place: Place, capsys: pytest.CaptureFixture[str]):
    (place.out / "_manifests" / "month=2013-02.json").mkdir(parents=True)
    job = str(place.job().path)
    assert main(["show", job, "2013-02", "--data", str(place.data)]) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert output.endswith("month=2013-02.json: Is a directory\n")


@pytest.mark.parametrize(
    "number",
    [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM,
     errno.ENAMETOOLONG, errno.EFBIG, errno.EAGAIN, errno.ENOLCK],
)  # fmt: skip
def test_each_error_of_the_family_says_what_to_do(number: int):
    found = resource_error(OSError(number, os.strerror(number), "/some/file"))
    assert isinstance(found, ResourceError)
    message = str(found)
    assert message.startswith(
        f"{os.strerror(number)}: /some/file; the run has ended, and a partition is"
    )
    assert message.count(". ") == 1


def test_other_errors_are_none_of_it():
    for error in (
        FileNotFoundError(2, "x"),
        PermissionError(13, "x"),
        ImportError("x"),
        ValueError("x"),
    ):
        assert resource_error(error) is None
    assert resource_error(MemoryError()) is not None
    assert resource_error(RuntimeError("can't start new thread")) is not None
    assert resource_error(ImportError("a.so: cannot open: Too many open files")) is not None


@pytest.mark.parametrize("name", ["v1.skops", "v1.joblib"])
def test_a_model_that_cannot_be_read_for_want_of_files_is_not_called_a_wrong_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
):
    from scoring.models import joblib, skops
    from scoring.models.base import ModelFile

    def fail(*arguments: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    loader = skops if name.endswith("skops") else joblib
    monkeypatch.setattr(loader, "loaded", fail)
    data = (place.data / "models" / "v1.skops").read_bytes()
    file = ModelFile(name="sample", version="v1", uri=name, sha256="", format=name[3:])
    with pytest.raises(ScoringError, match="Too many open files") as error:
        loader.load(data, file, [])
    assert not isinstance(error.value, ModelError)


def test_nobody_else_may_write_what_a_run_makes(place: Place):
    shutil.rmtree(place.out, ignore_errors=True)
    place.source(rows(10, x=[None, *map(float, range(2, 11))]))
    done = scoring(place, "run", place.job().path, "2013-02", prepare=lambda: os.umask(0) and None)
    assert done.returncode == 0
    modes = {path: path.stat().st_mode for path in place.out.rglob("*")}
    assert len(modes) > 6
    assert [p for p, mode in modes.items() if mode & (stat.S_IWGRP | stat.S_IWOTH)] == []
