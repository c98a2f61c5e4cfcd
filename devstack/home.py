"""Where everything lies that `make run` and `make stack` make: one folder, `.run`, that `make clean` removes."""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Home:
    """Names of files and folders below `root`; nothing is created by asking for a name."""

    root: Path

    @property
    def stack(self) -> "Home":
        """The same for `make stack`: an installation of its own beside that of `make run`."""
        return Home(self.root / "stack")

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
        """What tasks have logged: one folder per Dag, run and task."""
        return self.airflow / "logs"

    @property
    def postgres(self) -> Path:
        """Postgres' data directory."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """Messages of the broker that are not answered yet, and its settings."""
        return self.root / "valkey"

    @property
    def object_store(self) -> Path:
        """What lies in the buckets."""
        return self.root / "object_store"

    @property
    def logs(self) -> Path:
        """One file per process that `make run` has started."""
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def passwords(self) -> Path:
        """Who may log in to the web UI; the format is that of Airflow's SimpleAuthManager."""
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
        """What runs, for the next `make run` should this one be killed."""
        return self.root / "processes.json"
