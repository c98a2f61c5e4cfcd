"""The object store's ports, as other users of the machine find them: S3 asks for keys, the rest
refuses.
"""

from __future__ import annotations

import http.client
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import grpc
import psutil
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from devstack.services.object_store import ObjectStore
from tests.s3_server import BUCKET

REQUESTS = [
    ("GET", "/"),
    ("GET", "/dir/assign"),
    ("GET", "/dir/status"),
    ("GET", "/status"),
    ("GET", "/vol/grow?count=1"),
    ("GET", f"/buckets/{BUCKET}/secret"),
    ("POST", f"/buckets/{BUCKET}/planted"),
    ("DELETE", f"/buckets/{BUCKET}/secret"),
    ("GET", "/1,01637037d6"),
    ("POST", "/1,01637037d6"),
    ("POST", "/submit"),
]
REFUSED = (400, 401, 403, 404, 405)


@pytest.fixture
def process(s3_server: ObjectStore) -> psutil.Process:
    port = int(s3_server.endpoint_url.rpartition(":")[2])
    (found,) = [
        child for child in psutil.Process().children(recursive=True) if port in listening(child)
    ]
    return found


def listening(process: psutil.Process) -> list[int]:
    return [c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]


def others(process: psutil.Process, server: ObjectStore) -> list[int]:
    of_s3 = int(server.endpoint_url.rpartition(":")[2])
    return [port for port in sorted(listening(process)) if port != of_s3]


def answers(port: int, tls: bool) -> Iterator[tuple[str, str, int]]:
    """The requests that get any answer but a refusal."""
    for method, path in REQUESTS:
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=10, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path, body=b"planted" if method == "POST" else None)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
        # The volume server tells how many volumes it has, and how large they are.
        if answer.status not in REFUSED and (path != "/status" or b"secret" in body):
            yield method, path, answer.status


def test_without_keys_nothing_is_read_or_written_on_any_other_port(
    process: psutil.Process, s3_server: ObjectStore, s3: Any
):
    s3.put_object(Bucket=BUCKET, Key="secret", Body=b"secret")
    ports = others(process, s3_server)
    assert len(ports) >= 9  # master, volume, filer, admin, and gRPC for each of them and for S3
    for port in ports:
        for tls in (False, True):
            assert list(answers(port, tls)) == [], (port, tls)
    assert s3.get_object(Bucket=BUCKET, Key="secret")["Body"].read() == b"secret"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["secret"]


def test_grpc_without_the_certificate_is_refused(process: psutil.Process, s3_server: ObjectStore):
    calls = (
        "/filer_pb.SeaweedFiler/ListEntries",
        "/filer_pb.SeaweedFiler/GetFilerConfiguration",
        "/master_pb.Seaweed/Assign",
        "/volume_server_pb.VolumeServer/VolumeServerStatus",
    )
    for port in others(process, s3_server):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for call in calls:
                ask = channel.unary_unary(call)
                with pytest.raises(grpc.RpcError) as error:
                    ask(b"", timeout=10)
                assert error.value.code() in (  # type: ignore[attr-defined]
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ), (port, call)


def test_s3_itself_asks_for_keys(s3_server: ObjectStore, s3: Any):
    s3.put_object(Bucket=BUCKET, Key="secret", Body=b"secret")
    anybody = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint_url,
        region_name=s3_server.region,
        config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}),
    )
    for request in (
        lambda: anybody.get_object(Bucket=BUCKET, Key="secret"),
        lambda: anybody.put_object(Bucket=BUCKET, Key="planted", Body=b""),
        lambda: anybody.list_objects_v2(Bucket=BUCKET),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            request()


def test_files_and_sockets_are_for_their_owner_only(process: psutil.Process):
    (folder,) = [word[5:] for word in process.cmdline() if word.startswith("-dir=")]
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
    for file in (Path(folder) / "certificates").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    sockets = {c.laddr for c in process.net_connections("unix") if c.laddr}
    for socket in sockets:  # write permission on a socket is permission to connect
        assert not Path(socket).stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
