"""A reader of a destination, over and over while somebody publishes: ``python -m
tests.integration.readers``.

Prints how often it got exactly one version of each month, how often an error, how often anything
else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq

STILL, SWAPPED = "2013-02", "2013-03"
STILL_ROWS = 1_000

Read = Callable[[], pa.Table]


def rows_of(version: int) -> int:
    """How many rows a version of the swapped month has: every other one as many as the one before."""
    return 40_000 + 997 * (version // 2 % 11)


def _file_system(uri: str) -> tuple[Any, str]:
    """pyarrow's own, and the path in it; on S3 by the usual variables of the environment."""
    if not uri.startswith("s3://"):
        return pyarrow.fs.LocalFileSystem(), uri
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    scheme, _, host = endpoint.partition("://")
    s3 = pyarrow.fs.S3FileSystem(endpoint_override=host, scheme=scheme, region="us-east-1")
    return s3, uri.removeprefix("s3://")


def by_pandas(uri: str) -> Read:
    import pandas as pd

    file_system, path = _file_system(uri)
    return lambda: pa.Table.from_pandas(pd.read_parquet(path, filesystem=file_system))


def by_pyarrow(uri: str) -> Read:
    file_system, path = _file_system(uri)
    return lambda: _dataset(file_system, path).to_table()


def by_pyarrow_kept_open(uri: str) -> Read:
    dataset = _dataset(*_file_system(uri))
    return lambda: dataset.to_table()


def _dataset(file_system: Any, path: str) -> Any:
    return pyarrow.dataset.dataset(path, filesystem=file_system, partitioning="hive")


def by_duckdb(uri: str) -> Read:
    import duckdb

    connection = duckdb.connect()
    if uri.startswith("s3://"):
        connection.execute(f"LOAD '{_duckdb_extension('httpfs')}'")
        host = os.environ["AWS_ENDPOINT_URL"].partition("://")[2]
        secret = "TYPE s3, PROVIDER config, USE_SSL false, URL_STYLE 'path', REGION 'us-east-1'"
        keys = [os.environ[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
        connection.execute(
            f"CREATE SECRET ({secret}, KEY_ID '{keys[0]}', SECRET '{keys[1]}', ENDPOINT '{host}')"
        )
    query = f"SELECT * FROM read_parquet('{uri}/month=*/*.parquet', hive_partitioning = true)"
    return lambda: connection.execute(query).to_arrow_table()


def _duckdb_extension(name: str) -> Path:
    """The file of an extension that came as a Python package; DuckDB itself would download it."""
    package = importlib.util.find_spec(f"duckdb_extension_{name}")
    assert package is not None
    assert package.submodule_search_locations
    return next(Path(package.submodule_search_locations[0]).rglob(f"{name}.duckdb_extension"))


def by_polars(uri: str) -> Read:
    import polars

    options = None
    if uri.startswith("s3://"):
        options = {
            "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"],
            "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            "aws_region": "us-east-1",
            "aws_allow_http": "true",
        }
    pattern = f"{uri}/month=*/*.parquet"

    def read() -> pa.Table:
        frame = polars.scan_parquet(pattern, hive_partitioning=True, storage_options=options)
        table: pa.Table = frame.collect().to_arrow()
        return table

    return read


def by_whole_files(uri: str) -> Read:
    """Each file is read whole, in one go, and decoded from memory: what docs/reliability.md
    advises.
    """
    if not uri.startswith("s3://"):
        paths = Path(uri)
        return lambda: _decoded(path.read_bytes() for path in paths.glob("month=*/*.parquet"))
    import boto3

    client = boto3.client("s3", region_name="us-east-1")
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")

    def read() -> pa.Table:
        listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/month=")["Contents"]
        keys = [found["Key"] for found in listed]
        return _decoded(client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys)

    return read


def _decoded(files: Iterable[bytes]) -> pa.Table:
    return pa.concat_tables(pq.read_table(pa.BufferReader(data)) for data in files)


SAFE = {
    "disk": ["pandas", "pyarrow", "whole files"],
    "S3": ["whole files"],
}
"""Those that get exactly one version of each month, whatever is published meanwhile."""

READERS: dict[str, Callable[[str], Read]] = {
    "pandas": by_pandas,
    "pyarrow": by_pyarrow,
    "pyarrow, kept open": by_pyarrow_kept_open,
    "DuckDB": by_duckdb,
    "Polars": by_polars,
    "whole files": by_whole_files,
}


def verdict(table: pa.Table) -> str:
    """``ok`` for exactly one version of each month."""
    month = table.column("partition").cast(pa.string())
    still = table.filter(pc.equal(month, STILL)).column("y")
    swapped = table.filter(pc.equal(month, SWAPPED)).column("y")
    versions = pc.unique(swapped).to_pylist()
    whole = len(versions) == 1 and len(swapped) == rows_of(int(versions[0]))
    return "ok" if whole and len(still) == STILL_ROWS else "wrong"


def main(kind: str, uri: str, stop: str) -> None:
    read, counts, errors = READERS[kind](uri), Counter[str](), Counter[str]()
    print("reading", flush=True)
    while not Path(stop).exists():
        try:
            counts[verdict(read())] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            counts["error"] += 1
            errors[f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"] += 1
    print(json.dumps({"counts": counts, "errors": errors.most_common(3)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
