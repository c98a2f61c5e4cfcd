"""The service for predictions, `scoring serve`, as docker-compose.yaml starts it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from devstack.airflow.environment import S3_CONNECTION
from devstack.home import Home
from devstack.secrets import Secrets, write_private
from devstack.services.object_store import ObjectStore
from devstack.services.ports import HOST, free_port
from devstack.supervise.supervisor import Supervisor

GRACE_SECONDS = 40.0  # a request that has begun may take 30: the default of --timeout-seconds
SCORING = str(Path(sys.executable).with_name("scoring"))
JOB = "flight_delay"
EXAMPLE = (
    '{"time_hour": "2013-05-01T09:00:00Z", "carrier": "UA", "flight": 1545, "origin": "EWR", '
    '"dest": "IAH", "hour": 5, "distance": 1400, "dep_delay": 2}'
)


@dataclass(frozen=True)
class Service:
    """Where it listens, and the file with its token."""

    port: int
    token: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def request(self) -> str:
        """A command that asks for a prediction."""
        return (
            f"curl -H \"Authorization: Bearer $(cat {self.token})\" --json '{EXAMPLE}' "
            f"{self.url}/v1/jobs/{JOB}/predict"
        )


def environment(data: str, store: ObjectStore) -> dict[str, str]:
    """Return the variables that the service needs: nothing of Airflow's, and keys of `store` that
    may only read.
    """
    return {
        "SCORING_DATA": data,
        "SCORING_AWS_CONN_ID": S3_CONNECTION,
        "OMP_NUM_THREADS": "1",
        f"AIRFLOW_CONN_{S3_CONNECTION.upper()}": store.for_readers.connection,
    }


def inherited() -> dict[str, str]:
    """Return this process' variables without what they say of Airflow and of S3."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "AWS_"))}


def start(
    jobs: Path, home: Home, secrets: Secrets, store: ObjectStore, supervisor: Supervisor
) -> Service:
    """Start the service for the jobs of the folder `jobs`, kept running."""
    service = Service(free_port(), home.root / "serve_token")
    write_private(service.token, secrets.serve_token + "\n")
    command = [
        SCORING, "serve", f"--jobs={jobs}", f"--port={service.port}", "--workers=2",
        f"--tokens={service.token}",
    ]  # fmt: skip
    variables = inherited() | environment(f"s3://{store.bucket}", store)
    supervisor.keep_running("serve", command, variables, home.logs / "serve.log")
    return service
