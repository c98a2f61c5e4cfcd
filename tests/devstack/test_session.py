"""What `make run` and `make stack` have in common."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from devstack.airflow import installation
from devstack.commands import session
from devstack.home import Home
from devstack.secrets import load_or_create

WRITABLE_FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def test_nobody_else_may_write_what_is_made_whatever_the_umask_was(tmp_path: Path) -> None:
    home, before = Home(tmp_path / "run"), os.umask(0)
    try:
        with session.supervised(home, "the test", print) as supervisor:
            secrets = load_or_create(home.secrets)
            of = installation.describe(home, tmp_path, None, secrets, "postgresql://")
            installation.write_files(home, of, secrets)
            made = "import os; os.mkdir('made'); open('made/by_a_service', 'w').close()"
            command = ["sh", "-c", f'cd {home.root} && {sys.executable} -c "{made}"']
            log = home.logs / "service.log"
            supervisor.wait_for(supervisor.start_once("service", command, os.environ, log))
        assert os.umask(0) == 0, "the caller's umask is as it was"
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path): path.stat().st_mode for path in tmp_path.rglob("*")}
    assert Path("run/made/by_a_service") in modes
    assert [path for path, mode in modes.items() if mode & WRITABLE_FOR_OTHERS] == []
    for secret in (home.secrets, home.passwords, home.shell_environment):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_the_password_is_not_printed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    secrets = load_or_create(home.secrets)
    of = installation.describe(home, tmp_path, None, secrets, "postgresql://")
    message = str(session.access(home, of))
    assert str(home.passwords) in message
    assert secrets.ui_password not in message
