"""HTTPS as source: a real server with a real certificate, that cuts, stalls, redirects and refuses."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import resource
import signal
import socket
import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from devstack.services.ports import free_port
from scoring.destinations.manifest import Manifest
from scoring.errors import SourceError, SourceMissingError
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.local import score_partition
from scoring.pipeline.verify import verify_partition
from scoring.sources.base import open_source
from scoring.storage.connections import Connections
from scoring.storage.https import client as https_client
from scoring.storage.https import download
from tests import https_server
from tests.https_server import Site
from tests.scoring.factories import MONTH, Place, in_process, rows

DATA = bytes(range(256)) * 2000


@pytest.fixture
def server(
    https_site: tuple[Site, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Site, str]:
    """A site that this process trusts, and its URL; copies are made in the folder ``copies``."""
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    return https_site


@pytest.fixture
def site(server: tuple[Site, str]) -> Site:
    return server[0]


@pytest.fixture
def url(server: tuple[Site, str]) -> str:
    return server[1]


def fetched(uri: str) -> bytes:
    storage = Connections().readable_storage(uri)
    (found,) = storage.find(uri)
    file = storage.identify(found)
    with storage.open(uri) as opened:
        data = opened.read()
    assert (file.uri, file.bytes) == (uri, len(data))
    assert file.sha256 == storage.sha256(uri) == hashlib.sha256(data).hexdigest()
    return data


# A month.

FORMATS = {
    "parquet": lambda path: path.read_bytes(),
    "csv": lambda path: _as_csv(path),
    "csv.gz": lambda path: gzip.compress(_as_csv(path), mtime=0),
    "csv.gz?download=1": lambda path: gzip.compress(_as_csv(path), mtime=0),
}


def _as_csv(path: Path) -> bytes:
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(pa.parquet.read_table(path), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def month(empty: Place) -> Place:
    empty.source(rows(2500), row_group_size=700)
    empty.model()
    return empty


def over_https(place: Place, url: str, suffix: str = "parquet", **source: Any) -> PartitionContext:
    uri = f"{url}/{{year}}/{{partition}}.{suffix}"
    return place.run(place.job(source={"uri": uri, **source}))


def publish(run: PartitionContext) -> Manifest:
    return score_partition(run, {"by": "test"}, workers=1)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_month_over_https_has_the_bytes_of_the_same_file_on_disk(
    month: Place, site: Site, url: str, suffix: str
):
    data = FORMATS[suffix](month.data / "source" / f"{MONTH}.parquet")
    name = suffix.partition("?")[0]
    (month.data / "source" / f"{MONTH}.{name}").write_bytes(data)
    on_disk = publish(month.run(month.job(source={"uri": f"{{data}}/source/{{partition}}.{name}"})))
    site.files[f"/2013/{MONTH}.{suffix}"] = data
    run = over_https(month, url, suffix)
    manifest = publish(run)
    assert manifest.output.sha256 == on_disk.output.sha256
    assert Path(manifest.output.uri).read_bytes()[:4] == b"PAR1"
    assert manifest.rows.scored == 2500
    (file,) = manifest.source.files
    assert file.uri == f"{url}/2013/{MONTH}.{suffix}"
    assert file.bytes == len(data)
    assert file.sha256 == on_disk.source.files[0].sha256
    assert file.etag == f'"{hashlib.md5(data).hexdigest()}"'
    assert verify_partition(run).output.sha256 == on_disk.output.sha256


def test_header_rows_and_digest_cost_one_download(month: Place, site: Site, url: str):
    path = f"/2013/{MONTH}.parquet"
    site.files[path] = (month.data / "source" / f"{MONTH}.parquet").read_bytes()
    publish(over_https(month, url))
    assert [method for method, _, _ in site.requests] == ["HEAD", "GET"]
    assert site.bytes_sent == len(site.files[path])


def test_the_copy_has_no_name_and_goes_with_its_source(
    month: Place, site: Site, url: str, tmp_path: Path
):
    site.files[f"/2013/{MONTH}.parquet"] = (month.data / "source" / f"{MONTH}.parquet").read_bytes()
    run = over_https(month, url)
    source = open_source(run.job, run.partition, run.roots, run.connections)
    assert source.rows == 2500
    assert len(open_copies(tmp_path)) == 1
    assert list((tmp_path / "copies").iterdir()) == []
    del source
    assert open_copies(tmp_path) == []


def open_copies(folder: Path) -> list[str]:
    """What this process holds open in the folder of copies."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of this very listing
            found.append(str(descriptor.readlink()))
    return [target for target in found if str(folder / "copies") in target]


def test_memory_does_not_grow_with_the_file(site: Site, url: str):
    site.files["/large"] = bytes(48 << 20)
    storage = Connections().readable_storage(url)
    tracemalloc.start()
    try:
        assert storage.sha256(f"{url}/large") == hashlib.sha256(site.files["/large"]).hexdigest()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# A month that is not there.


@pytest.mark.parametrize("status", [404, 410])
def test_a_month_that_is_not_there_names_its_uri(month: Place, site: Site, url: str, status: int):
    site.head_status = status
    with pytest.raises(SourceMissingError, match=rf"{url}/2013/{MONTH}\.parquet"):
        publish(over_https(month, url))
    assert month.files() == []


def test_a_month_that_vanishes_before_it_is_read_is_missing(site: Site, url: str):
    site.files["/x"] = DATA
    storage = Connections().readable_storage(url)
    (found,) = storage.find(f"{url}/x")
    del site.files["/x"]
    with pytest.raises(SourceMissingError, match="disappeared during the download"):
        storage.identify(found)


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_where_head_is_refused_one_byte_is_asked_for(site: Site, url: str, status: int):
    site.files["/x"] = DATA
    site.head_status = status
    storage = Connections().readable_storage(url)
    (found,) = storage.find(f"{url}/x")
    assert (found.bytes, site.bytes_sent) == (len(DATA), 1)
    assert storage.find(f"{url}/y") == []


def test_an_empty_file_is_there(site: Site, url: str):
    site.files["/x"] = b""
    assert fetched(f"{url}/x") == b""
    site.head_status = 405
    assert [found.bytes for found in Connections().readable_storage(url).find(f"{url}/x")] == [0]


# Servers that fail.


@pytest.mark.parametrize("ends", [[0], [1], [len(DATA) - 1], [100_000, 0, 200_000, 7]])
def test_a_cut_download_is_taken_up_where_it_ended(site: Site, url: str, ends: list[int]):
    site.files["/x"], site.ends = DATA, list(ends)
    assert fetched(f"{url}/x") == DATA
    assert site.bytes_sent == len(DATA)
    asked = [headers.get("range") for headers in site.gets("/x")]
    positions = [sum(ends[:n]) for n in range(len(ends) + 1)]
    assert asked == [f"bytes={position}-" if position else None for position in positions]
    etag = f'"{hashlib.md5(DATA).hexdigest()}"'
    assert {headers["if-range"] for headers in site.gets("/x") if "range" in headers} <= {etag}


def test_a_stalled_download_is_taken_up(site: Site, url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(https_client, "TIMEOUT_SECONDS", 2.0)
    site.files["/x"], site.ends, site.stalls = DATA, [150_000], True
    assert fetched(f"{url}/x") == DATA
    assert [headers.get("range") for headers in site.gets("/x")] == [None, "bytes=150000-"]


@pytest.mark.parametrize(
    "changes",
    [
        {"takes_ranges": False},
        {"etag": "weak", "last_modified": ""},
        {"etag": "", "last_modified": ""},
    ],
    ids=str,
)
def test_a_server_that_cannot_go_on_starts_over(site: Site, url: str, changes: dict[str, Any]):
    vars(site).update(changes)
    site.files["/x"], site.ends = DATA, [100_000, 300_000]
    assert fetched(f"{url}/x") == DATA
    assert site.bytes_sent == len(DATA) + 400_000


@pytest.mark.parametrize("etag", ["weak", ""])
def test_without_a_strong_etag_the_time_of_change_distinguishes_versions(
    site: Site, url: str, etag: str
):
    site.files["/x"], site.ends, site.etag = DATA, [100_000], etag
    assert fetched(f"{url}/x") == DATA
    assert site.gets("/x")[1]["if-range"] == site.last_modified
    assert site.bytes_sent == len(DATA)


@pytest.mark.parametrize("looks_at_if_range", [True, False])
@pytest.mark.parametrize("new", [DATA[::-1], DATA[:1000], DATA * 2], ids=["same", "short", "long"])
def test_a_file_that_is_replaced_meanwhile_is_fetched_again(
    site: Site, url: str, new: bytes, looks_at_if_range: bool
):
    site.files["/x"], site.replaced_by, site.ends = DATA, {"/x": new}, [100_000]
    site.looks_at_if_range = looks_at_if_range
    assert fetched(f"{url}/x") == new


@pytest.mark.parametrize("ends", [[], [70_000]])
def test_a_body_in_chunks_has_an_end_too(site: Site, url: str, ends: list[int | None]):
    site.files["/x"], site.framing, site.ends = DATA, "chunks", ends
    assert fetched(f"{url}/x") == DATA
    assert site.bytes_sent == len(DATA)


def test_a_body_without_a_known_end_is_not_taken(site: Site, url: str):
    site.files["/x"], site.framing = DATA, "none"
    with pytest.raises(SourceError, match="the server does not say how long the file is"):
        fetched(f"{url}/x")


def test_a_download_that_never_ends_is_given_up_with_byte_and_tries(
    month: Place, site: Site, url: str
):
    path = f"/2013/{MONTH}.parquet"
    site.files[path] = (month.data / "source" / f"{MONTH}.parquet").read_bytes()
    size, site.ends = len(site.files[path]), [1000, *[0] * 9]
    with pytest.raises(SourceError) as error:
        publish(over_https(month, url))
    assert str(error.value) == (
        f"{url}{path} could not be downloaded completely: the connection was cut, at byte 1,000 of "
        f"{size:,}; given up after 5 tries in a row"
    )
    assert len(site.gets(path)) == 5
    assert month.files() == []


def test_a_large_file_may_be_cut_more_often_than_there_are_tries(
    site: Site, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(download, "PROGRESS_BYTES", 1000)
    site.files["/x"], site.ends = DATA, [2000] * 20
    assert fetched(f"{url}/x") == DATA
    assert len(site.gets("/x")) == 21


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_that_passes_is_waited_out(site: Site, url: str, status: int):
    site.files["/x"], site.statuses = DATA, [status, status]
    (found,) = Connections().readable_storage(url).find(f"{url}/x")
    assert found.bytes == len(DATA)
    site.statuses = [status, status]
    assert fetched(f"{url}/x") == DATA


def test_an_error_that_stays_is_reported_with_the_tries(site: Site, url: str):
    site.files["/x"], site.statuses = DATA, [500] * 10
    with pytest.raises(SourceError, match=r"the server answered 500 .*, in each of 5 tries"):
        Connections().readable_storage(url).find(f"{url}/x")
    assert len(site.requests) == 5


@pytest.mark.parametrize("head_status", [None, 403])
def test_a_refusal_is_reported_at_once(site: Site, url: str, head_status: int | None):
    site.files["/x"], site.statuses, site.head_status = DATA, [403] * 3, head_status
    with pytest.raises(SourceError, match=r"answered 403 Forbidden\. Over .* anyone may fetch"):
        fetched(f"{url}/x")
    assert len(site.requests) == 2  # the refused HEAD, and one GET


def test_a_server_that_is_not_there_is_reported(site: Site, url: str):
    with pytest.raises(SourceError, match="refused, in each of 5 tries"):
        Connections().readable_storage(url).find(f"https://127.0.0.1:{free_port()}/x")
    with pytest.raises(SourceError, match=r"https://a\.\.b/x cannot be requested"):
        Connections().readable_storage(url).find("https://a..b/x")


def test_a_copy_that_cannot_be_kept_is_not_an_error_of_the_network(site: Site, url: str):
    site.files["/x"] = DATA
    storage = Connections().readable_storage(url)

    def with_too_little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        with pytest.raises(
            SourceError, match=r"cannot be kept in .*/copies while .*: File too large"
        ):
            storage.sha256(f"{url}/x")

    assert in_process(with_too_little_room) == 0
    assert len(site.gets("/x")) == 1


# Whom it trusts.


def test_a_server_with_another_authority_is_not_trusted(
    site: Site, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    site.files["/x"] = DATA
    other, _ = https_server.certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    with pytest.raises(SourceError, match=r"certificate cannot be trusted: .*SSL_CERT_FILE"):
        fetched(f"{url}/x")
    assert site.requests == []


def test_redirects_to_https_are_followed_also_when_a_download_is_taken_up(
    site: Site, url: str, certificates: tuple[Path, Path]
):
    with https_server.serving(certificates[1]) as (other, other_url):
        other.files["/y"], other.ends = DATA, [100_000]
        site.redirects = {"/x": "/z", "/z": other_url.replace("127.0.0.1", "localhost") + "/y"}
        assert fetched(f"{url}/x") == DATA
        assert other.bytes_sent == len(DATA)
        assert [method for method, _, _ in other.requests] == ["HEAD", "GET", "GET"]
        for _, _, headers in [*site.requests, *other.requests]:
            assert not {"authorization", "cookie", "proxy-authorization", "referer"} & set(headers)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "https://user:secret@127.0.0.1/x",
        "//user:secret@127.0.0.1/x",
    ],
)
def test_other_redirects_are_refused(site: Site, url: str, target: str):
    site.redirects = {"/x": target}
    with pytest.raises(SourceError, match=r"redirects to .* only https://") as error:
        fetched(f"{url}/x")
    assert "secret" not in str(error.value)
    assert len(site.requests) == 1


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(https_client, "TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")

        def answer() -> bytes:
            connection, _ = proxy.accept()
            with connection:
                asked = connection.recv(1000)
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return asked

        asked = pool.submit(answer)
        with pytest.raises(SourceError, match="502 Bad Gateway, in each of 1 tries"):
            Connections().readable_storage("https://").find("https://data.example.com/x.csv")
        assert asked.result().startswith(b"CONNECT data.example.com:443 ")


def test_redirects_in_a_circle_end(site: Site, url: str):
    site.redirects = {"/x": "/y", "/y": "/x"}
    with pytest.raises(SourceError, match="more than 10 redirects"):
        fetched(f"{url}/x")


def test_names_with_spaces_and_umlauts_are_asked_for_as_browsers_do(site: Site, url: str):
    site.files["/a%20b/M%C3%A4rz.csv?x=1"] = DATA
    assert fetched(f"{url}/a b/März.csv?x=1") == DATA
    assert fetched(f"{url}/a%20b/M%C3%A4rz.csv?x=1") == DATA


# The digest that the job gives.


def test_a_file_with_the_digest_of_the_job_is_published(month: Place, site: Site, url: str):
    path = f"/2013/{MONTH}.parquet"
    site.files[path] = (month.data / "source" / f"{MONTH}.parquet").read_bytes()
    digest = hashlib.sha256(site.files[path]).hexdigest()
    manifest = publish(over_https(month, url, sha256={MONTH: digest}))
    assert manifest.source.files[0].sha256 == digest


def test_a_file_with_another_digest_is_not(month: Place, site: Site, url: str):
    path = f"/2013/{MONTH}.parquet"
    site.files[path] = (month.data / "source" / f"{MONTH}.parquet").read_bytes()
    digest = hashlib.sha256(site.files[path]).hexdigest()
    with pytest.raises(SourceError) as error:
        publish(over_https(month, url, sha256={MONTH: "0" * 64, "2013-03": digest}))
    assert str(error.value).startswith(f"{url}{path} is not the file that source.sha256 in the job")
    assert f"its digest is {digest}, and {'0' * 64} was expected" in str(error.value)
    assert month.files() == []
