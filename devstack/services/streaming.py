"""Messages of a topic scored as they come: `scoring stream`, as docker-compose.yaml starts it, and a
broker for it, which docker-compose.yaml leaves to its users.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from devstack.home import Home
from devstack.services import kafka, predictions
from devstack.services.kafka import KafkaBroker
from devstack.services.object_store import ObjectStore
from devstack.services.ports import HOST, free_port
from devstack.services.predictions import SCORING
from devstack.supervise.supervisor import Supervisor

GRACE_SECONDS = 40.0  # 20 s for results on their way, after the batch that is being scored
CONNECTION = "stream"
SOURCE, RESULTS = "flights", "predictions"
DEAD_LETTERS = f"{RESULTS}.dead-letters"
TOPICS = {SOURCE: 4, RESULTS: 4, DEAD_LETTERS: 1}  # with so many partitions
DEVSTACK = ".venv/bin/python -m devstack"


@dataclass(frozen=True)
class Stream:
    """The broker, and where the stream answers probes and Prometheus."""

    broker: KafkaBroker
    port: int

    @property
    def metrics(self) -> str:
        return f"http://{HOST}:{self.port}/metrics"

    @property
    def example(self) -> str:
        """A command that sends a message."""
        address = self.broker.address(SOURCE)
        return f"{DEVSTACK} send {address} {shlex.quote(predictions.EXAMPLE)}"

    @property
    def results(self) -> str:
        """A command that shows the results."""
        return f"{DEVSTACK} read {self.broker.address(RESULTS)}"


def environment(data: str, store: ObjectStore, connection: str) -> dict[str, str]:
    """Return the variables that the stream needs: those of the service for predictions, and the
    `connection` to the broker.
    """
    brokers = {f"AIRFLOW_CONN_{CONNECTION.upper()}": connection}
    return predictions.environment(data, store) | brokers


def command(job: str, jobs: Path, port: int) -> list[str]:
    """Return the command of the stream that scores the job of this name in the folder `jobs`."""
    return [
        SCORING, "stream", job, f"--jobs={jobs}", f"--from=kafka:///{SOURCE}",
        f"--to=kafka:///{RESULTS}", f"--connection-id={CONNECTION}", f"--metrics-port={port}",
    ]  # fmt: skip


def connection_to(broker: KafkaBroker) -> str:
    """Return the Airflow connection in JSON."""
    # With the default of 45 s, this broker would let a new member of a group wait for 22 s.
    extra = {
        "bootstrap.servers": broker.server,
        "session.timeout.ms": 6_000,
        **kafka.LOST_OTHERWISE,
    }
    return json.dumps({"conn_type": "kafka", "extra": extra})


def start(
    jobs: Path, home: Home, store: ObjectStore, supervisor: Supervisor, job: str = predictions.JOB
) -> Stream:
    """Start a broker with the topics, and the stream of a job of the folder `jobs`, kept running."""
    broker = kafka.start(home, supervisor, store)
    broker.create(TOPICS)
    stream = Stream(broker, free_port())
    variables = predictions.inherited() | environment(
        f"s3://{store.bucket}", store, connection_to(broker)
    )
    log = home.logs / "stream.log"
    supervisor.keep_running("stream", command(job, jobs, stream.port), variables, log)
    return stream
