"""Two jobs with connections of their own, in one process."""

from __future__ import annotations

import pickle
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from devstack.services.object_store import ObjectStore
from scoring.errors import SourceError
from scoring.pipeline.context import PartitionContext
from scoring.sources.databases.dbapi import DbApi
from scoring.storage.connections import Connections
from tests.s3_server import BUCKET, client, with_rights
from tests.scoring.factories import MONTH, Place, linear, rows, run_steps, save

QUERY = "SELECT id, x FROM rows ORDER BY id"


def only_under(prefix: str) -> dict[str, Any]:
    """The rights of a user who reads and writes under ``prefix`` and nowhere else."""
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:List*"], "Resource": f"arn:aws:s3:::{BUCKET}"},
            {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{BUCKET}/{prefix}/*"},
        ],
    }


def test_two_jobs_in_one_process_reach_s3_each_as_its_own_user(
    s3_server: ObjectStore, s3: Any, empty: Place
):
    empty.source(rows(5))
    runs = []
    for name, slope in (("left", 2.0), ("right", 3.0)):
        model = empty.folder / f"{name}.skops"
        save(linear(slope), model)
        s3.upload_file(str(model), BUCKET, f"{name}/models/v1.skops")
        source = empty.data / "source" / f"{MONTH}.parquet"
        s3.upload_file(str(source), BUCKET, f"{name}/source/{MONTH}.parquet")
        user = with_rights(s3_server, only_under(name))
        with pytest.raises(ClientError, match=r"AccessDenied|403"):
            client(user).put_object(Bucket=BUCKET, Key="elsewhere/x", Body=b"")
        job = empty.job()
        connections = Connections(s3_client=partial(client, user))
        roots = job.roots(f"s3://{BUCKET}/{name}")
        runs.append(PartitionContext(job, job.job.parse(MONTH), roots, "a", connections))
    for _ in range(2):  # in turn: nothing of one is left for the other
        for run, slope in zip(runs, (2.0, 3.0), strict=True):
            manifest = run_steps(run)
            mean = manifest.statistics["y"]["mean"]
            assert mean == pytest.approx(3.0 * slope)


def test_two_jobs_in_one_process_ask_each_its_own_database(empty: Place):
    def connect(path: Path, conn_id: str) -> DbApi:
        if conn_id != "warehouse":
            raise SourceError(f"{conn_id} is not known")
        return DbApi(lambda: sqlite3.connect(path))

    runs = []
    empty.model()
    job = empty.job(source={"uri": None, "sql": QUERY, "conn_id": "warehouse"})
    for count in (3, 7):
        path = empty.folder / f"{count}.db"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE rows (id INTEGER, x REAL)")
            values = [(i, float(i)) for i in range(count)]
            database.executemany("INSERT INTO rows VALUES (?, ?)", values)
        connections = Connections(database=partial(connect, path))
        roots = job.roots(str(empty.folder / str(count)))
        save(linear(), empty.folder / str(count) / "models" / "v1.skops")
        runs.append(PartitionContext(job, job.job.parse(MONTH), roots, "a", connections))
    assert [run_steps(run).rows.rows_in for run in (*runs, *runs)] == [3, 7, 3, 7]


def make_client() -> Any:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client("s3", region_name="us-east-1", **keys)


def test_connections_that_are_handed_to_another_process_take_no_client_along():
    there = Connections(s3_client=make_client)
    storage = there.storage("s3://bucket/key")
    again = pickle.loads(pickle.dumps(there))
    assert again.s3_client is make_client
    assert again.storage("s3://bucket/key") is not storage
