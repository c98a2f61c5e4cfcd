"""Airflow's settings, as environment variables: the one description of how this product wants Airflow to run.

`make run` uses it; any other way to run the product (containers, several machines) should start from the same
function, so that a setting is changed in one place. Every process of an installation needs the same variables;
the scheduler alone takes PRELOAD on top.
"""

from dataclasses import dataclass
from pathlib import Path

# Folder of airflow_local_settings.py, which Airflow imports when it finds it on PYTHONPATH.
AIRFLOW_CONFIG = Path(__file__).resolve().parent / "airflow_config"

# For a process that forks tasks: import pandas, pyarrow and scikit-learn once, so that no task has to.
PRELOAD = {"SCORING_PRELOAD": "1"}


@dataclass(frozen=True)
class Installation:
    """What differs between one installation of Airflow and another."""

    airflow_home: str
    dags_folder: str
    plugins_folder: str
    data: str  # what {data} stands for in the URIs of job files
    database_url: str  # postgresql+psycopg2://…
    api_host: str  # the address the API server listens at
    api_port: int
    api_url: str  # how browsers and tasks reach the API server
    passwords_file: str  # users of the web UI (SimpleAuthManager)
    fernet_key: str
    jwt_secret: str
    api_secret_key: str
    tasks_at_once: int
    executor: str = "LocalExecutor"
    airflow_config: str = str(AIRFLOW_CONFIG)


def airflow_environment(installation: Installation) -> dict[str, str]:
    """The variables that every process of this installation needs, and every shell that calls `airflow`."""
    of = installation
    return {
        "AIRFLOW_HOME": of.airflow_home,
        "SCORING_DATA": of.data,
        "PYTHONPATH": of.airflow_config,
        # One thread per task: tasks run side by side already, and threads of several tasks would share the same cores.
        "OMP_NUM_THREADS": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": of.dags_folder,
        "AIRFLOW__CORE__PLUGINS_FOLDER": of.plugins_folder,
        "AIRFLOW__CORE__EXECUTOR": of.executor,
        # A place in the executor stays taken for up to MIN_HEARTBEAT_INTERVAL after its task has ended: the process
        # that watches the task misses its end when the task closes its pipes before it is gone (seen in Airflow
        # 3.3.2, for half of the tasks). So there are more places, and the pool says how many tasks work at once.
        "AIRFLOW__CORE__PARALLELISM": str(4 * of.tasks_at_once),
        "AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT": str(of.tasks_at_once),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # seconds
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": of.fernet_key,
        # Forked tasks inherit what the scheduler has imported; spawned ones would import it again (ten times slower).
        "AIRFLOW__CORE__MP_START_METHOD": "fork",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",  # name:role
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": of.passwords_file,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{of.api_url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": of.database_url,
        "AIRFLOW__API__HOST": of.api_host,
        "AIRFLOW__API__PORT": str(of.api_port),
        "AIRFLOW__API__BASE_URL": of.api_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": of.api_secret_key,
        "AIRFLOW__API_AUTH__JWT_SECRET": of.jwt_secret,
        # The scheduler's pause after a round without work; the default of 1 s lies between any two tasks.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{of.airflow_home}/logs",
    }
