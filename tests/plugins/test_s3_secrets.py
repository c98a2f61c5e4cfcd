"""The keys of S3 stay in the connection: they are in no log, message, XCom, manifest or file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.services.object_store import ObjectStore
from tests import s3_server as server_of_tests
from tests.plugins.conftest import Start, scored


@pytest.fixture
def started(start: Start, data: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run on the small job whose data lie in the bucket."""
    for path in data.rglob("*.*"):
        key = f"airflow/{path.relative_to(data)}"
        s3.upload_file(str(path), server_of_tests.BUCKET, key)
    monkeypatch.setenv("SCORING_DATA", "s3://scoring/airflow")
    return start(run={"aws_conn_id": "lake", "shard_rows": 1000})


def places_with(secret: str, folder: Path, s3: Any) -> list[str]:
    """The files of this test and of its Airflow (database, logs), and the objects, that hold it."""
    bucket = server_of_tests.BUCKET
    files = [p for f in (folder, Path(os.environ["AIRFLOW_HOME"])) for p in f.rglob("*")]
    found = [str(p) for p in files if p.is_file() and secret.encode() in p.read_bytes()]
    for key in server_of_tests.keys(s3):
        if secret.encode() in s3.get_object(Bucket=bucket, Key=key)["Body"].read():
            found.append(key)
    return found


def test_right_keys_leave_no_trace(
    started: Any,
    s3_server: ObjectStore,
    s3: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", s3_server.connection)
    started.upload.scored = scored(started)
    assert started.run.run(started.upload).state == "success"
    assert started.run.returned(started.upload)["rows_scored"] == 2450
    output = capfd.readouterr()
    assert s3_server.secret_key not in output.out + output.err + caplog.text
    assert places_with(s3_server.secret_key, tmp_path, s3) == []
    assert server_of_tests.uploads(s3) == []


def test_wrong_keys_are_reported_without_saying_them(
    started: Any,
    s3_server: ObjectStore,
    s3: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    wrong = replace(s3_server, secret_key="a-secret-that-is-wrong-0815")
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", wrong.connection)
    result = started.run.run(started.extract)
    assert result.state == "up_for_retry"
    assert "the secret key is wrong (SignatureDoesNotMatch" in str(result.error)
    output = capfd.readouterr()
    message = output.out + output.err + caplog.text + str(result.error)
    assert wrong.secret_key not in message
    assert places_with(wrong.secret_key, tmp_path, s3) == []
    assert server_of_tests.keys(s3, "airflow/predictions") == []
