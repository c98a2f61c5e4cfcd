"""Jobs of one service, each with a connection and versions of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from devstack.services.object_store import ObjectStore
from scoring.serving.connections import connections_of
from tests.s3_server import BUCKET, with_rights
from tests.scoring.factories import JOB, Place, linear, merged
from tests.scoring.serving.conftest import Start


def user_of(server: ObjectStore, folder: str) -> ObjectStore:
    """Somebody who may read one folder, and nothing else."""
    statements = [
        {"Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{BUCKET}/{folder}/*"]},
        {"Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{BUCKET}"]},
    ]
    return with_rights(
        server,
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow"} | one for one in statements]},
    )


def connection(user: ObjectStore) -> str:
    extra = {"endpoint_url": user.endpoint_url, "region_name": user.region}
    return json.dumps(
        {"conn_type": "aws", "login": user.access_key, "password": user.secret_key, "extra": extra}
    )


def test_two_jobs_are_read_with_their_own_connections_and_have_their_own_versions(
    empty: Place, s3: Any, s3_server: ObjectStore, start: Start
):
    environment = {}
    for name, slope in (("first", 2.0), ("second", 7.0)):
        empty.model(linear(slope))
        model = (empty.data / "models" / "v1.skops").read_bytes()
        s3.put_object(Bucket=BUCKET, Key=f"{name}/model.skops", Body=model)
        version = {
            "version": f"{name}-v1",
            "uri": f"s3://{BUCKET}/{name}/model.skops",
            "in_force_from": "2013-02",
        }
        job = merged(
            JOB,
            {
                "name": name,
                "model": {"versions": [version]},
                "destination": {"uri": f"s3://{BUCKET}/{name}/out"},
                "run": {"aws_conn_id": f"of_{name}"},
            },
        )
        (empty.folder / f"{name}.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
        environment[f"AIRFLOW_CONN_OF_{name.upper()}"] = connection(user_of(s3_server, name))
    service = start(empty, env=environment)
    row = {"id": 1, "x": 1.0}
    for name, y in (("first", 2.0), ("second", 7.0)):
        found = service.predict(row, job=name).json()
        assert (found["model_version"], round(found["rows"][0]["y"], 9)) == (f"{name}-v1", y)

    other = empty.folder / "second.yaml"
    other.write_text(other.read_text().replace("of_second", "of_first"))  # who may not read it
    service.wait(lambda: "may not do this" in service.client.get("/readyz").text)
    assert service.predict(row, job="second").status_code == 200
    for secret in environment.values():
        assert json.loads(secret)["password"] not in service.log.read_text()


@pytest.mark.parametrize("named_by", ["the job", "SCORING_AWS_CONN_ID"])
def test_a_connection_is_that_of_the_job_else_that_of_all(
    place: Place,
    s3: Any,
    s3_server: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    named_by: str,
):
    uri = f"s3://{BUCKET}/kept"
    s3.put_object(Bucket=BUCKET, Key="kept", Body=b"kept")
    monkeypatch.setenv("AIRFLOW_CONN_OF_READERS", s3_server.for_readers.connection)
    if named_by == "the job":
        monkeypatch.setenv("SCORING_AWS_CONN_ID", "another")
        job = place.job(run={"aws_conn_id": "of_readers"}).job
    else:
        monkeypatch.setenv("SCORING_AWS_CONN_ID", "of_readers")
        job = place.job().job
    assert connections_of(job).storage(uri).read(uri) == b"kept"


def test_the_settings_of_a_connection_count(
    place: Place, s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch
):
    """A bucket's name in front of the host resolves in few networks."""
    monkeypatch.setenv("AIRFLOW_CONN_OF_READERS", s3_server.for_readers.connection)
    make_client = connections_of(place.job(run={"aws_conn_id": "of_readers"}).job).s3_client
    assert make_client is not None
    config = make_client().meta.config
    assert (config.s3["addressing_style"], config.connect_timeout) == ("path", 10)
