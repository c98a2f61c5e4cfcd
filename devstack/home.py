"""Paths below `.run`, the one folder that `make run` and `make stack` write to and `make clean`
removes.
"""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Home:
    """Paths of files and folders below `root`; asking for one creates nothing."""

    root: Path

    @property
    def stack(self) -> "Home":
        """The paths of `make stack`, an installation separate from that of `make run`."""
        return Home(self.root / "stack")

    @property
    def containers(self) -> Path:
        """What `make containers` keeps: images, secrets, logs, and the months as scored on the
        laptop.
        """
        return self.root / "containers"

    @property
    def data(self) -> Path:
        """Flights, models, predictions."""
        return self.root / "data"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.root / "airflow"

    @property
    def task_logs(self) -> Path:
        """Task logs: one folder per Dag, run and task."""
        return self.airflow / "logs"

    @property
    def postgres(self) -> Path:
        """Postgres' data directory."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """The broker's settings and its unacknowledged messages."""
        return self.root / "valkey"

    @property
    def object_store(self) -> Path:
        """The objects of the buckets."""
        return self.root / "object_store"

    @property
    def logs(self) -> Path:
        """Process logs: one file per process."""
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def passwords(self) -> Path:
        """Users of the web UI, in the format of Airflow's SimpleAuthManager."""
        return self.root / "ui_passwords.json"

    @property
    def shell_environment(self) -> Path:
        """`. .run/airflow.env` gives a shell the `airflow` command of this installation."""
        return self.root / "airflow.env"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def processes(self) -> Path:
        """The running processes, so that the next call can end them if this one is killed."""
        return self.root / "processes.json"
