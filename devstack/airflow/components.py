"""Airflow's own processes and its database's schema: which commands there are, and what each needs
before it starts.
"""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psycopg2

from devstack.airflow.environment import PRELOAD, QUEUES
from devstack.home import Home
from devstack.services import predictions, streaming
from devstack.services.postgres import Database
from devstack.supervise.supervisor import NotYet, Supervisor

AIRFLOW = str(Path(sys.executable).with_name("airflow"))

# Task logs are read from disk, so the servers that serve them are not needed.
SCHEDULER = (AIRFLOW, "scheduler", "--skip-serve-logs")
API_SERVER = (AIRFLOW, "api-server")
DAG_PROCESSOR = (AIRFLOW, "dag-processor")
TRIGGERER = (AIRFLOW, "triggerer", "--skip-serve-logs")
WORKER = (AIRFLOW, "celery", "worker", "--queues", ",".join(QUEUES), "--skip-serve-logs")

GRACE_SECONDS = 1.0  # between the stop signal and the kill
GRACE_OF_TASKS_SECONDS = 20.0


def migrate(
    home: Home, environment: Mapping[str, str], database: Database, supervisor: Supervisor
) -> bool:
    """Create or migrate Airflow's tables; return whether that was needed.

    The database's comment records the Airflow version, because the command takes eight seconds to
    find nothing to do.
    """
    wanted = f"Airflow {version('apache-airflow')}"
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    if database.execute(comment) == [(wanted,)]:
        return False
    command = [AIRFLOW, "db", "migrate"]
    log = home.logs / "migrate.log"
    supervisor.wait_for(supervisor.start_once("db migrate", command, environment, log))
    database.execute(f"COMMENT ON DATABASE postgres IS '{wanted}'")
    return True


def start(
    home: Home, environment: Mapping[str, str], database: Database, supervisor: Supervisor
) -> None:
    """Start what scoring needs, the slowest first."""

    def forget_dead_scheduler() -> None:
        # A killed scheduler stays "running" in the database, and its tasks with it. Only one is
        # ever started here, so any that is listed as running is dead; marked as failed, its tasks
        # are adopted by the new one at once.
        try:
            database.execute(
                "UPDATE job SET state = 'failed', end_date = now() "
                "WHERE state = 'running' AND job_type = 'SchedulerJob'"
            )
        except psycopg2.OperationalError:  # Postgres has died, and the scheduler because of it
            raise NotYet from None

    supervisor.keep_running("api-server", API_SERVER, environment, home.logs / "api-server.log")
    supervisor.keep_running(
        "scheduler",
        SCHEDULER,
        {**environment, **({} if _has_workers(environment) else PRELOAD)},
        home.logs / "scheduler.log",
        forget_dead_scheduler,
    )
    supervisor.keep_running(
        "dag-processor", DAG_PROCESSOR, environment, home.logs / "dag-processor.log"
    )


def _has_workers(environment: Mapping[str, str]) -> bool:
    """Return whether tasks run elsewhere: then the scheduler forks none."""
    return environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"


def start_triggerer(home: Home, environment: Mapping[str, str], supervisor: Supervisor) -> None:
    """Start the triggerer, which deadlines and jobs with `source.wait` need; everything else works
    without it.
    """
    supervisor.keep_running("triggerer", TRIGGERER, environment, home.logs / "triggerer.log")


def start_worker(
    name: str, home: Home, environment: Mapping[str, str], supervisor: Supervisor
) -> None:
    """Start a Celery worker; its name distinguishes it from others on this machine."""
    supervisor.keep_running(
        name,
        (*WORKER, "--celery-hostname", name),
        environment,
        home.logs / f"{name}.log",
    )


def end(supervisor: Supervisor) -> None:
    """End everything, what runs tasks first: tasks that are about to end still report to the API
    server.

    Airflow's other processes lose nothing when they are killed; asked to end, some take ten
    seconds.
    """
    workers = [s.name for s in supervisor.services if s.name.startswith("worker")]
    supervisor.end(["serve", "stream"], max(predictions.GRACE_SECONDS, streaming.GRACE_SECONDS))
    supervisor.end(["scheduler", *workers, "data", "db migrate"], GRACE_OF_TASKS_SECONDS)
    supervisor.end(["api-server", "dag-processor", "triggerer"], GRACE_SECONDS)
    supervisor.end(["kafka"], GRACE_SECONDS)  # what it has acknowledged lies in the object store
    supervisor.end(["valkey", "object-store"], GRACE_OF_TASKS_SECONDS)
    supervisor.end(["postgres"], GRACE_OF_TASKS_SECONDS)
