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

GRACE_SECONDS = 1.0  # to end by itself, after that a process is killed
GRACE_OF_TASKS_SECONDS = 20.0


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
    """Start what scoring needs, the slowest first."""

    def forget_dead_scheduler() -> None:
        # A killed scheduler stays "running" in the database, and its tasks with it. Only one is ever started here:
        # whatever the database holds for running is dead, and the new scheduler takes its tasks up at once.
        database.execute(
            "UPDATE job SET state = 'failed', end_date = now() "
            "WHERE state = 'running' AND job_type = 'SchedulerJob'"
        )

    supervisor.keep_running("api-server", API_SERVER, environment, home.logs / "api-server.log")
    supervisor.keep_running(
        "scheduler",
        SCHEDULER,
        {**environment, **PRELOAD},
        home.logs / "scheduler.log",
        forget_dead_scheduler,
    )
    supervisor.keep_running(
        "dag-processor", DAG_PROCESSOR, environment, home.logs / "dag-processor.log"
    )


def start_triggerer(home: Home, environment: Mapping[str, str], supervisor: Supervisor) -> None:
    """For deferred tasks and deadlines: scoring needs neither, so that it can wait until the others are up."""
    supervisor.keep_running("triggerer", TRIGGERER, environment, home.logs / "triggerer.log")


def end(supervisor: Supervisor) -> None:
    """The scheduler first, with time for tasks that are about to end: they report to the API server.

    The others hold nothing that is lost when they are killed; asked politely, some take ten seconds.
    """
    supervisor.end(["scheduler", "data", "db migrate"], GRACE_OF_TASKS_SECONDS)
    supervisor.end(["api-server", "dag-processor", "triggerer"], GRACE_SECONDS)
    supervisor.end(["postgres"], GRACE_OF_TASKS_SECONDS)


def wait_for(service: processes.Service, supervisor: Supervisor) -> None:
    """Return when a process that does one thing has done it; LocalError with the end of its log if it has failed."""
    supervisor.add(service)
    while (status := service.exit_status()) is None:
        supervisor.watch()
    supervisor.end([service.name], GRACE_SECONDS)
    if status != 0:
        raise LocalError(
            f"{service.name} failed with exit status {status}; its log {service.log} ends with:\n"
            f"{service.last_lines()}"
        )
