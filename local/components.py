"""Airflow's own processes and its database's schema: which commands there are, and what each needs before it starts."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from local import processes
from local.environment import PRELOAD
from local.errors import LocalError
from local.home import Home
from local.postgres import Database
from local.supervisor import Supervisor

AIRFLOW = str(Path(sys.executable).with_name("airflow"))

# Tasks' logs are read from the disk: there is no need for the servers that hand them out.
SCHEDULER = (AIRFLOW, "scheduler", "--skip-serve-logs")
API_SERVER = (AIRFLOW, "api-server")
DAG_PROCESSOR = (AIRFLOW, "dag-processor")
TRIGGERER = (AIRFLOW, "triggerer", "--skip-serve-logs")


def migrate(
    home: Home, environment: Mapping[str, str], database: Database, supervisor: Supervisor
) -> bool:
    """Make or update Airflow's tables; returns whether there was anything to do.

    The database itself notes which version it was made for, as its comment: the command takes eight seconds to find
    that nothing is to be done.
    """
    wanted = f"Airflow {version('apache-airflow')}"
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    if database.execute(comment) == [(wanted,)]:
        return False
    command = [AIRFLOW, "db", "migrate"]
    wait_for(
        processes.start("db migrate", command, environment, home.logs / "migrate.log"), supervisor
    )
    database.execute(f"COMMENT ON DATABASE postgres IS '{wanted}'")
    return True


def start(
    home: Home, environment: Mapping[str, str], database: Database, supervisor: Supervisor
) -> None:
    """Start Airflow's four processes, the slowest first."""

    def forget_dead_scheduler() -> None:
        # A killed scheduler stays "running" in the database, and its tasks with it. Only one is ever started here:
        # whatever the database holds for running is dead, and the new scheduler takes its tasks up at once.
        database.execute(
            "UPDATE job SET state = 'failed', end_date = now() WHERE state = 'running' AND job_type = 'SchedulerJob'"
        )

    def log(name: str) -> Path:
        return home.logs / f"{name}.log"

    supervisor.keep_running("api-server", API_SERVER, environment, log("api-server"))
    supervisor.keep_running(
        "scheduler", SCHEDULER, {**environment, **PRELOAD}, log("scheduler"), forget_dead_scheduler
    )
    supervisor.keep_running("dag-processor", DAG_PROCESSOR, environment, log("dag-processor"))
    supervisor.keep_running("triggerer", TRIGGERER, environment, log("triggerer"))


def end(supervisor: Supervisor) -> None:
    """In this order: tasks that are about to end report to the API server, and everything uses Postgres."""
    supervisor.end("scheduler", "dag-processor", "triggerer", "data", "db migrate")
    supervisor.end("api-server")
    supervisor.end()


def wait_for(service: processes.Service, supervisor: Supervisor) -> None:
    """Return when a process that does one thing has done it; LocalError with the end of its log if it has failed."""
    supervisor.add(service)
    while (status := service.exit_status()) is None:
        supervisor.watch()
    supervisor.end(service.name)
    if status != 0:
        raise LocalError(
            f"{service.name} failed with exit status {status}; its log {service.log} ends with:\n"
            f"{service.last_lines()}"
        )
