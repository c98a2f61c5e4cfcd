"""What docker-compose.yaml takes from this package: Airflow's settings, and the names of its
secrets.

docker-compose.yaml contains the settings as `python -m devstack compose-environment` prints them,
so that the file can be read and used alone; `tests/deploy/test_compose.py` fails when the two
differ.
"""

from dataclasses import asdict
from pathlib import Path

import yaml

from devstack.airflow.environment import Installation, Workers, airflow_environment
from devstack.errors import DevstackError
from devstack.secrets import Secrets, write_private
from devstack.services.object_store import ObjectStore

MISSING = "run `make env`"  # Compose names the missing variable, followed by this


def _secret(name: str) -> str:
    """Return a variable of Compose: replaced by the secret, an error if the secret is missing."""
    return f"${{{name}:?{MISSING}}}"


def in_containers() -> Installation:
    """Return the installation that docker-compose.yaml describes; hosts are its services."""
    database = f"airflow:{_secret('DATABASE_PASSWORD')}@postgres:5432/airflow"
    return Installation(
        airflow_home="/opt/airflow",
        dags_folder="/opt/scoring/dags",
        data="${SCORING_DATA:-s3://scoring}",
        database_url=f"postgresql+psycopg2://{database}",
        api_host="0.0.0.0",
        api_port=8080,
        api_url="${UI_URL:-http://127.0.0.1:${UI_PORT:-8080}}",
        api_url_of_tasks="http://api-server:8080",
        passwords_file="/opt/airflow/ui_passwords.json",
        fernet_key=_secret("FERNET_KEY"),
        jwt_secret=_secret("JWT_SECRET"),
        api_secret_key=_secret("API_SECRET_KEY"),
        tasks_at_once="${TASKS_AT_ONCE:-8}",
        workers=Workers(
            broker_url=f"redis://:{_secret('BROKER_PASSWORD')}@valkey:6379/0",
            concurrency="${WORKER_CONCURRENCY:-4}",
            cores="${WORKER_CORES:-1}",
        ),
        object_store=ObjectStore(
            endpoint_url="http://object-store:8333",
            access_key=_secret("S3_ACCESS_KEY"),
            secret_key=_secret("S3_SECRET_KEY"),
            reader=(_secret("S3_READER_ACCESS_KEY"), _secret("S3_READER_SECRET_KEY")),
        ),
    )


def environment_block() -> str:
    """Return the mapping `x-airflow-environment` of docker-compose.yaml."""
    settings = airflow_environment(in_containers())
    return yaml.safe_dump(
        {"x-airflow-environment": settings}, sort_keys=False, width=1_000, default_style='"'
    )


def write_env(path: Path) -> str:
    """Write fresh secrets for docker-compose.yaml; return a summary.

    What an existing file has is never changed, and what it lacks is added: with other secrets,
    neither the database nor what is encrypted in it could be read.
    """
    before = path.read_text() if path.exists() else "# Written by `make env`. Keep it out of git.\n"
    known = {line.partition("=")[0].strip() for line in before.splitlines() if "=" in line}
    fresh = {name.upper(): value for name, value in asdict(Secrets()).items()}
    lines = [f"{name}={value}\n" for name, value in fresh.items() if name not in known]
    if not lines:
        raise DevstackError(
            f"{path} exists and is left as it is; remove it yourself if its secrets are not in use"
        )
    write_private(path, before + ("" if before.endswith("\n") else "\n") + "".join(lines))
    count = f"{len(lines)} fresh secret{'s' if len(lines) > 1 else ''}"
    return f"{path} holds {count}; only its owner can read it"
