"""Upload files to the object store: python load_data.py FOLDER

FOLDER/flights/… and FOLDER/models/… become SCORING_DATA/flights/… and SCORING_DATA/models/…, each
whole or not at all. Existing objects stay as they are. Keys and endpoint are those of the Airflow
connection that SCORING_AWS_CONN_ID names, read from its variable AIRFLOW_CONN_….
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTS = ("flights", "models")


def load(folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Upload what is missing and return the URIs that were written."""
    bucket, _, prefix = environment["SCORING_DATA"].removeprefix("s3://").partition("/")
    name = environment["SCORING_AWS_CONN_ID"]
    s3 = client(environment[f"AIRFLOW_CONN_{name.upper()}"])
    written = []
    for path in sorted(path for part in PARTS for path in (folder / part).rglob("*.*")):
        key = "/".join([*([prefix] if prefix else []), path.relative_to(folder).as_posix()])
        found = s3.list_objects_v2(Bucket=bucket, Prefix=key)
        if key not in [item["Key"] for item in found.get("Contents", [])]:
            s3.upload_file(str(path), bucket, key)
            written.append(f"s3://{bucket}/{key}")
    return written


def client(connection_json: str, config: Any = None) -> Any:
    """Return a boto3 client with the keys, the endpoint and the settings of an Airflow connection.

    `config`, botocore's, comes on top of those settings; without it, timeouts and retries are
    boto3's defaults.
    """
    import boto3
    from botocore.config import Config

    connection = json.loads(connection_json)
    extra = connection["extra"]
    settings = Config(**extra["config_kwargs"])
    return boto3.client(
        "s3",
        endpoint_url=extra["endpoint_url"],
        region_name=extra["region_name"],
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
        config=settings.merge(config) if config else settings,
    )


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: load_data.py FOLDER", file=sys.stderr)
        return 2
    for uri in load(Path(arguments[0]), os.environ):
        print(uri)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
