"""Airflow's settings, as environment variables: the one description of how this project runs
Airflow.

`make run`, `make stack` and docker-compose.yaml (see `devstack/commands/compose.py`) start from the
same function, so that a setting is changed in one place. Every process of an installation needs the
same variables; a scheduler that forks tasks takes PRELOAD on top.
"""

import json
from dataclasses import dataclass

from devstack.services.object_store import ObjectStore

# For a scheduler that forks tasks: import pandas, pyarrow and scikit-learn once, so that no task
# has to.
PRELOAD = {"SCORING_PRELOAD": "1"}

S3_CONNECTION = "scoring_s3"  # the connection of jobs that name none in run.aws_conn_id
DEFAULT_QUEUE = "default"
# Every worker takes tasks from all of them; a job names one in run.queue.
QUEUES = (DEFAULT_QUEUE, "scoring")


@dataclass(frozen=True)
class Workers:
    """Celery workers, which may be on several machines, and the broker that hands them tasks."""

    broker_url: str  # redis://…
    concurrency: int | str  # tasks at once of each worker
    cores: int | str  # that each worker may use; several on one machine share its cores


@dataclass(frozen=True)
class Installation:
    """What differs between installations of Airflow."""

    airflow_home: str
    dags_folder: str
    data: str  # what {data} stands for in the URIs of job files
    database_url: str  # postgresql+psycopg2://…
    api_host: str  # the address the API server listens at
    api_port: int
    api_url: str  # how browsers reach the API server
    passwords_file: str  # users of the web UI (SimpleAuthManager)
    fernet_key: str
    jwt_secret: str
    api_secret_key: str
    tasks_at_once: int | str  # of all workers together
    workers: Workers | None = None  # None: tasks are processes of the scheduler
    object_store: ObjectStore | None = None
    api_url_of_tasks: str = ""  # how tasks reach the API server, if not as browsers do


def airflow_environment(installation: Installation) -> dict[str, str]:
    """Return the variables that every process of this installation needs, and every shell that
    calls `airflow`.
    """
    of = installation
    return {
        "AIRFLOW_HOME": of.airflow_home,
        "SCORING_DATA": of.data,
        # One thread per task: tasks run side by side already, and threads of several tasks would
        # share the same cores.
        "OMP_NUM_THREADS": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": of.dags_folder,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": of.fernet_key,
        # Forked tasks inherit what the scheduler has imported; spawned ones would import it again
        # (ten times slower).
        "AIRFLOW__CORE__MP_START_METHOD": "fork",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",  # name:role
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": of.passwords_file,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{of.api_url_of_tasks or of.api_url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": of.database_url,
        "AIRFLOW__API__HOST": of.api_host,
        "AIRFLOW__API__PORT": str(of.api_port),
        "AIRFLOW__API__BASE_URL": of.api_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": of.api_secret_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": of.jwt_secret,
        # A dead worker's task is retried after one minute instead of five. Live tasks send a
        # heartbeat every second and survive this long without the API server.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",  # seconds
        # A dead scheduler's queued tasks are adopted after one minute instead of five.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",  # seconds
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{of.airflow_home}/logs",
        **_executor(of.tasks_at_once, of.workers),
        **_connections(of.object_store),
    }


def _executor(tasks_at_once: int | str, workers: Workers | None) -> dict[str, str]:
    """Return the settings of the executor and its parallelism."""
    both = {
        "AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT": str(tasks_at_once),
        # A slot of the executor stays occupied for up to this long after its task has ended: the
        # process that watches the task may miss its end. scoring_airflow/batch_policy.py makes that
        # rare.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # seconds
    }
    if workers is None:
        return both | {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            # The scheduler's pause after a round without work; the default of 1 s lies between any
            # two tasks.
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            # More slots than tasks, for the reason above: the pool limits how many tasks run at
            # once.
            "AIRFLOW__CORE__PARALLELISM": str(4 * int(tasks_at_once)),
        }
    return both | {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        # Longer than on a laptop: with 0.1 s, scheduler and database take half a core while a run
        # goes on, with this a fifth. A task then follows another after half a second rather than a
        # quarter.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        # No more than the workers have slots for: a task that waits in the broker for longer than
        # TASK_QUEUED_TIMEOUT is considered lost. In the database, tasks wait without a limit.
        "AIRFLOW__CORE__PARALLELISM": str(tasks_at_once),
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": DEFAULT_QUEUE,
        "AIRFLOW__CELERY__BROKER_URL": workers.broker_url,
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(workers.concurrency),
        # joblib's own variable, which limits the threads of a task too: a worker cannot see the
        # other workers on its machine.
        "LOKY_MAX_CPU_COUNT": str(workers.cores),
        # While the broker is down, tasks wait until they can be sent. With Airflow's defaults, each
        # refused connection is a failed try of the task, and three tries are used up within
        # seconds. Here the connection is retried for 1 s, Airflow's own limit for one attempt to
        # send, and then the attempt is repeated.
        "AIRFLOW__CELERY__TASK_PUBLISH_MAX_RETRIES": "3600",
        "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": json.dumps(
            {
                "task_publish_retry_policy": {"max_retries": 100, "interval_start": 0.2},
                # What PRELOAD is for the scheduler: imported by a worker before it forks.
                "imports": ["scoring_airflow.preload"],
            }
        ),
        # Longer than any task takes: the broker redelivers a message that is not acknowledged by
        # then. A dead worker's task does not wait for that: the scheduler notices the missing
        # heartbeat.
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",  # seconds
    }


def _connections(object_store: ObjectStore | None) -> dict[str, str]:
    """Return Airflow's connections that are part of the installation."""
    if object_store is None:
        return {}
    return {
        f"AIRFLOW_CONN_{S3_CONNECTION.upper()}": object_store.connection,
        # For s3:// when the job names no connection, so that one job file serves a laptop and this
        # installation.
        "SCORING_AWS_CONN_ID": S3_CONNECTION,
    }
