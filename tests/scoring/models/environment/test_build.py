"""Environments are built once, whole, from what the lock says; what cannot be built is one sentence."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scoring.cli.main import main
from scoring.errors import JobError, MissingPackageError, ModelError, ResourceError
from scoring.models.base import EnvironmentSpec
from scoring.models.environment import child, interpreters, lock, uv
from scoring.models.environment.build import FOLDER, environment_of
from tests.old_python import Old
from tests.scoring.factories import Place

BUILD = """
import sys
from scoring.models.base import EnvironmentSpec
from scoring.models.environment import build
spec = EnvironmentSpec(python=sys.argv[1], requirements="six==1.16.0", timeout_seconds=60)
found = build.environment_of(spec)
print(found.folder, found.seconds)
"""


def spec(python: str, requirements: str = "six==1.16.0") -> EnvironmentSpec:
    return EnvironmentSpec(python=python, requirements=requirements, timeout_seconds=60)


def start(python: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, python],
        env=os.environ | {FOLDER: str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def environments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.is_dir() and path.name != "locks")


def test_of_two_that_start_at_once_one_builds(python: str, tmp_path: Path):
    done = [process.communicate()[0].split() for process in [start(python, tmp_path) for _ in "ab"]]
    (one, seconds), (other, others_seconds) = done
    assert one == other
    assert sorted([float(seconds) > 0, float(others_seconds) > 0]) == [False, True]
    assert environments(tmp_path) == [Path(one).name]
    assert len(list((tmp_path / "locks").glob("*.txt"))) == 1


def test_a_build_that_was_killed_leaves_nothing_that_is_used(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    process = start(python, tmp_path)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("building-*/lib")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = environments(tmp_path)
    assert left.startswith("building-")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    found = environment_of(spec(python))
    assert found.seconds > 0
    assert environments(tmp_path) == [found.folder.name]
    assert environment_of(spec(python)).seconds == 0
    found.python.unlink()  # as where its Python was uninstalled
    assert environment_of(spec(python)).seconds > 0


def test_a_build_that_is_stopped_is_tried_again(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Airflow's SIGTERM reaches uv, too: that is not a mistake in the requirements."""
    (tmp_path / "uv").write_text("#!/bin/sh\nkill -TERM $$\n")
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setattr(uv, "uv_path", lambda: str(tmp_path / "uv"))
    monkeypatch.setenv(FOLDER, str(tmp_path / "environments"))
    with pytest.raises(ResourceError, match=r"resolving .*: uv was killed by SIGTERM"):
        environment_of(spec(python))


def test_what_was_resolved_once_is_not_resolved_again(
    old: Old, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(uv, "uv_path", lambda: pytest.fail("uv was called"))
    again = environment_of(spec(old.config["python"], old.config["requirements"][0]))
    assert (again.lock, again.folder) == (old.environment.lock, old.environment.folder)
    assert "--hash=sha256:" in again.lock


def test_old_packages_get_the_numpy_that_they_were_compiled_with(old: Old):
    if old.sklearn != "1.0.2":
        pytest.skip("no wheel of scikit-learn 1.0.2 for the Pythons here")
    assert old.environment.packages["numpy"].startswith(("1.21", "1.22", "1.23"))
    assert {"pandas", "pyarrow"} <= set(old.environment.packages)


def test_a_python_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ModelError) as caught:
        interpreters.find_interpreter("3.77")
    ours = f"3.{sys.version_info.minor}"
    assert "there is no Python 3.77 on this machine" in str(caught.value)
    assert ours in str(caught.value)


def test_pyenvs_stand_ins_are_not_taken_for_a_python(tmp_path: Path, monkeypatch):
    shim = tmp_path / "python3.78"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    interpreters._all_paths.cache_clear()
    try:
        with pytest.raises(ModelError, match=r"there is no Python 3.78"):
            interpreters.find_interpreter("3.78")
    finally:
        interpreters._all_paths.cache_clear()


@pytest.mark.parametrize(
    ("requirements", "why"),
    [
        ("pandas==2.0.0\npandas==1.5.0", r"uv says: Because you require pandas==2.0.0 and"),
        ("batch-scoring-no-such-package", r"no-such-package was not found in the package reg"),
        ("scikit-learn==99.0", r"no version of scikit-learn==99.0"),
        ("scikit-learn==0.19.2", r"another environment\.python, or another release, may have some"),
        ("a b c", r"resolving environment.requirements for Python .* failed"),
        ("-r other.txt", r"has the line '-r other.txt', and other files are not read"),
    ],
)
def test_requirements_that_cannot_be_resolved(
    environments: Path, python: str, requirements: str, why: str
):
    with pytest.raises(ModelError, match=why) as caught:
        environment_of(spec(python, requirements))
    assert "\n" not in str(caught.value)


def test_without_a_network_the_index_is_named(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(FOLDER, str(tmp_path / "environments"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(ModelError, match=r"is the package index reachable\?"):
        environment_of(spec(python))
    assert environments(tmp_path / "environments") == []


def test_a_missing_uv_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'batch-scoring\[environments\]'"):
        uv.uv_path()


def test_limits_that_old_releases_do_not_say_are_added_until_none_is_missing(
    monkeypatch: pytest.MonkeyPatch,
):
    asked = []

    def compiled(text: str, constraints: list[str], interpreter: object) -> str:
        asked.append(constraints)
        numpy = "1.26.4" if "numpy<2" in constraints else "2.3.0"
        return f"numpy=={numpy} \\\n    --hash=x\nscikit-learn==1.3.2\npandas==2.3.3\n"

    monkeypatch.setattr(lock, "_compile", compiled)
    ours = interpreters.find_interpreter(f"3.{sys.version_info.minor}")
    assert "numpy==1.26.4" in lock._resolved("scikit-learn==1.3.2", ours)
    assert asked == [[], ["numpy<2", "pandas<3"], ["numpy<2", "pandas<3", "pyarrow<26"]]
    asked.clear()
    lock._resolved("scikit-learn==1.3.2\nnumpy==2.3.0\npandas==2.3.3", ours)
    assert asked == [[]]  # what the requirements name is theirs to decide


def test_the_names_of_requirements():
    text = "# a\nScikit_Learn==1.0 ; python_version<'4'\n  numpy\n--hash=sha256:0\n"
    assert lock.names_in(text) == {"scikit-learn", "numpy"}


def test_the_program_of_a_child_has_the_syntax_of_python_3_8():
    source = Path(child.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
    }
    assert "scoring" not in imported
    top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert top <= sys.stdlib_module_names


def test_the_command_builds_ahead(old: Old, empty: Place, capsys: pytest.CaptureFixture[str]):
    empty.model()
    (empty.folder / "envs").mkdir()
    (empty.folder / "envs" / "v1.txt").write_text(old.config["requirements"][0] + "\n")
    environment = {"python": old.config["python"], "requirements": "envs/v1.txt"}
    versions = [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}
        | {"environment": environment}
    ]
    job = str(empty.job(model={"versions": versions}).path)
    assert main(["env", job, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["packages"]["scikit-learn"] == old.sklearn
    assert len(found["lock_sha256"]) == 64
    assert main(["env", job]) == 0
    assert f"v1: Python {found['python']}, " in capsys.readouterr().out
    (empty.folder / "envs" / "v1.txt").unlink()
    assert main(["env", job]) == 5
    assert "the requirements" in capsys.readouterr().err
    assert main(["env", str(empty.job().path)]) == 0
    assert "no model version has an environment" in capsys.readouterr().out


def test_requirements_lie_beside_the_job_file(empty: Place):
    def job(requirements: object, python: object = "3.9") -> None:
        environment = {"python": python, "requirements": requirements}
        versions = [
            {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}
            | {"environment": environment}
        ]
        empty.job(model={"versions": versions})

    job(["scikit-learn==1.0.2"])
    job("sub/requirements.txt")
    for wrong in ("../requirements.txt", "/etc/requirements.txt"):
        with pytest.raises(JobError, match=r"requirements: .* is not in the job file's folder"):
            job(wrong)
    with pytest.raises(JobError, match=r"is not expanded"):
        job("~/requirements.txt")
    for python in ("3.7", "2.7", "3.9.18", 3.9):
        with pytest.raises(JobError, match=r"environment.python"):
            job(["six"], python)
