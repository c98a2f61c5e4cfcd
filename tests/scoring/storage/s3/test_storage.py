"""S3 as source, staging and destination: a real S3 server, whose checks are real too."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devstack.services.object_store import ObjectStore
from scoring.errors import (
    NewerPublicationError,
    PublicationError,
    ScoringError,
    SourceError,
    SourceMissingError,
)
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.handover import Scored
from scoring.pipeline.local import score_partition
from scoring.pipeline.publish import publish
from scoring.pipeline.verify import verify_partition
from scoring.storage.base import Encryption, Unchanged, pending, write
from scoring.storage.s3 import storage as s3_module
from scoring.storage.s3.storage import S3Storage
from tests.s3_server import BUCKET, client, keys, storage_for, uploads, use_client, with_rights
from tests.scoring.factories import MONTH, Place, extracted, in_s3, scored

OUTPUT = f"lake/out/month={MONTH}/predictions.parquet"
DOCS = Path(__file__).resolve().parents[4] / "docs"
THREE_VERSIONS = {
    "versions": [
        {"version": v, "uri": f"{{models}}/{v}.skops", "in_force_from": f}
        for v, f in (("v1", "2013-02"), ("v2", "2013-03"), ("v3", "2013-04"))
    ]
}


def test_a_month_in_s3_has_the_bytes_of_a_month_on_disk(lake: Place, s3: Any):
    on_disk = score_partition(lake.run(), {"by": "test"}, workers=1)
    manifest = score_partition(in_s3(lake), {"by": "test"}, workers=2)
    published = s3.get_object(Bucket=BUCKET, Key=OUTPUT)["Body"].read()
    assert hashlib.sha256(published).hexdigest() == on_disk.output.sha256 == manifest.output.sha256
    assert pq.read_table(pa.BufferReader(published))["y"].to_pylist()[:2] == pytest.approx([2, 4])
    assert keys(s3, "lake/out/") == [
        "lake/out/_columns.arrow",
        f"lake/out/_manifests/month={MONTH}.json",
        OUTPUT,
    ]
    etag = s3.head_object(Bucket=BUCKET, Key=f"lake/source/{MONTH}.parquet")["ETag"]
    assert manifest.source.files[0].etag == etag.strip('"')
    assert verify_partition(in_s3(lake)).output.sha256 == on_disk.output.sha256


def test_quarantined_rows_lie_where_the_manifest_says(lake: Place):
    run = in_s3(lake, inputs={"x": {"type": "float64", "max": 2000}})
    manifest = score_partition(run, {}, workers=1)
    assert manifest.quarantine is not None
    assert (manifest.rows.scored, manifest.rows.quarantined) == (2000, 500)
    data = storage_for(manifest.quarantine.uri).read(manifest.quarantine.uri)
    assert data is not None
    assert pq.read_table(pa.BufferReader(data))["reason"].unique().to_pylist() == ["above_max"]


def test_of_two_publishers_of_one_month_the_first_wins_and_the_other_says_so(lake: Place, s3: Any):
    one, other = (in_s3(lake, name, model=THREE_VERSIONS) for name in ("one", "other"))
    of_one, of_other = extracted(one, "v1"), extracted(other, "v2")
    shards = scored(other, of_other)

    def first_publishes_meanwhile() -> Iterator[Any]:
        publish(one, scored(one, of_one), {})
        yield from shards

    with pytest.raises(
        NewerPublicationError, match="has published this month with model version v1"
    ):
        publish(other, first_publishes_meanwhile(), {})
    assert version_published(one) == "v1"
    assert not [key for key in keys(s3) if ".next-" in key]
    with pytest.raises(NewerPublicationError):  # its retry, too
        publish(other, shards, {})
    assert version_published(one) == "v1"
    replaced = publish(other, shards, {}, replace_newer=True)
    assert replaced.run == {"replaced_newer": "a run from the shell"}
    assert version_published(one) == "v2"


def version_published(run: PartitionContext) -> str:
    """The model version in the manifest, which the predictions must agree with in all they say."""
    manifest = run.publisher.published(run.partition)
    assert manifest is not None
    data = storage_for(manifest.output.uri).read(manifest.output.uri)
    assert data is not None
    assert hashlib.sha256(data).hexdigest() == manifest.output.sha256
    table = pq.read_table(pa.BufferReader(data))
    assert table["model_version"].unique().to_pylist() == [manifest.model.version]
    assert table.num_rows == manifest.rows.scored
    if manifest.quarantine is not None:
        rejected = manifest.quarantine
        assert storage_for(rejected.uri).sha256(rejected.uri) == rejected.sha256
    return manifest.model.version


def test_of_publishers_at_the_same_instant_exactly_one_wins_in_every_round(lake: Place, s3: Any):
    chance, rounds, winners = random.Random(20_130_201), 10, []
    for number in range(rounds):
        versions = chance.sample(["v1", "v2", "v3"], chance.choice([2, 3]))
        race = Race(lake, versions, chance, number)
        (winner,) = race.winners
        assert version_published(race.runs[winner]) == winner
        assert {winner, *race.lost} == set(versions)
        for loser in race.lost:
            message = str(race.lost[loser])
            assert re.search("has published this month|by another process right after", message)
        for loser in race.lost:
            publish(race.runs[loser], race.shards[loser], {}, replace_newer=True)
            assert version_published(race.runs[loser]) == loser
        assert uploads(s3) == []
        left = keys(s3, "lake/out/")
        quarantine = [key for key in left if "/_quarantine/" in key]
        assert len(quarantine) == 1
        assert left == [
            "lake/out/_columns.arrow",
            f"lake/out/_manifests/month={MONTH}.json",
            *quarantine,
            OUTPUT,
        ]
        winners.append(winner)
    print(f"{rounds} rounds, won by {winners}")
    assert len(set(winners)) > 1


class Race:
    """Writers of one month, one a model version, who have all seen the same month before them."""

    def __init__(
        self, place: Place, versions: list[str], chance: random.Random, number: int
    ) -> None:
        changes = {
            "inputs": {"x": {"type": "float64", "max": 2400}},
            "model": THREE_VERSIONS,
            "run": {"shard_rows": 10_000},
        }
        self.runs = {v: in_s3(place, f"{number}-{v}", **changes) for v in versions}
        self.shards = {v: scored(run, extracted(run, v)) for v, run in self.runs.items()}
        self.winners: list[str] = []
        self.lost: dict[str, ScoringError] = {}
        self._all_have_begun = threading.Barrier(len(versions))
        threads = [
            threading.Thread(target=self._publish, args=(v, chance.uniform(0, 0.03)))
            for v in versions
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _publish(self, version: str, delay_seconds: float) -> None:
        def shards() -> Iterator[Scored]:
            self._all_have_begun.wait()
            time.sleep(delay_seconds)  # not to wait for anything: writers are never quite together
            yield from self.shards[version]

        try:
            publish(self.runs[version], shards(), {"by": version})
            self.winners.append(version)
        except PublicationError as error:
            self.lost[version] = error


def test_a_replaced_object_is_not_replaced_again_by_whom_had_not_seen_it(s3: Any):
    uri = f"s3://{BUCKET}/object"
    storage = storage_for(uri)
    with pending(storage, uri, Unchanged(storage.version(uri))) as late:
        write(storage, uri, b"first")
        late.write(b"late")
        with pytest.raises(PublicationError, match="another process"):
            late.commit()
    assert storage.read(uri) == b"first"


def test_an_object_that_was_removed_meanwhile_is_not_there_again(s3: Any):
    uri = f"s3://{BUCKET}/object"
    storage = storage_for(uri)
    write(storage, uri, b"first")
    with pending(storage, uri, Unchanged(storage.version(uri))) as late:
        late.write(b"late")
        storage.remove(uri)
        with pytest.raises(PublicationError, match="another process in the meantime"):
            late.commit()
    assert storage.read(uri) is None


def test_patterns_match_within_folders(s3: Any):
    storage = storage_for(f"s3://{BUCKET}/")
    for name in ("a/1.parquet", "a/2.parquet", "a/b/3.parquet", "a/1.csv"):
        write(storage, f"s3://{BUCKET}/{name}", b"x")
    found = {
        pattern: [f.uri.removeprefix(f"s3://{BUCKET}/") for f in storage.find(pattern)]
        for pattern in (
            f"s3://{BUCKET}/a/*.parquet",
            f"s3://{BUCKET}/a/**/*.parquet",
            f"s3://{BUCKET}/a/[!1].parquet",
            f"s3://{BUCKET}/a/1.csv",
        )
    }
    assert list(found.values()) == [
        ["a/1.parquet", "a/2.parquet"],
        ["a/1.parquet", "a/2.parquet", "a/b/3.parquet"],
        ["a/2.parquet"],
        ["a/1.csv"],
    ]


def test_a_tree_is_removed_in_batches_and_nothing_beside_it(
    s3: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(s3_module, "DELETED_AT_ONCE", 2)
    for name in ("tree/1", "tree/2", "tree/deep/er/3", "tree-2/4", "tre"):
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"")
    for key in ("tree/5", "tree-2/6"):
        s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    batches: list[int] = []
    s3.meta.events.register(
        "provide-client-params.s3.DeleteObjects",
        lambda params, **_: batches.append(len(params["Delete"]["Objects"])),
    )
    S3Storage(s3).remove_tree(f"s3://{BUCKET}/tree")
    assert keys(s3) == ["tre", "tree-2/4"]
    assert uploads(s3) == ["tree-2/6"]
    assert batches == [2, 1]
    S3Storage(s3).remove_tree(f"s3://{BUCKET}/tree")
    assert batches == [2, 1]


def policy(*statements: tuple[list[str], str]) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{resource}"}
            for actions, resource in statements
        ],
    }


def test_objects_that_may_not_be_removed_are_reported(s3_server: ObjectStore, s3: Any):
    reader = with_rights(
        s3_server, policy((["s3:ListBucket"], BUCKET), (["s3:GetObject"], f"{BUCKET}/*"))
    )
    for name in ("tree/1", "tree/2"):
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"")
    with pytest.raises(PublicationError) as error:
        S3Storage(client(reader)).remove_tree(f"s3://{BUCKET}/tree")
    assert f"2 objects under s3://{BUCKET}/tree cannot be removed" in str(error.value)
    assert f"s3://{BUCKET}/tree/1 (AccessDenied" in str(error.value)
    assert keys(s3) == ["tree/1", "tree/2"]


def documented_policy() -> dict[str, Any]:
    """The policy of docs/s3.md, for this bucket, in the words of the server of the tests."""
    text = re.findall(r"```json\n(.*?)```", (DOCS / "s3.md").read_text(), re.DOTALL)[0]
    for documented, here in (
        ("my-bucket/flights/", f"{BUCKET}/lake/source/"),
        ("my-bucket/models/", f"{BUCKET}/lake/models/"),
        ("my-bucket/predictions/", f"{BUCKET}/lake/out/"),
        ("my-bucket", BUCKET),
        ("s3:ListBucketMultipartUploads", "s3:List*"),  # SeaweedFS has no narrower name for it
    ):
        assert documented in text
        text = text.replace(documented, here)
    return dict(json.loads(text))


def test_the_rules_that_the_docs_recommend_are_taken_by_a_server(s3: Any):
    text = re.findall(r"```json\n(.*?)```", (DOCS / "s3.md").read_text(), re.DOTALL)[1]
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=json.loads(text))
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    assert rules[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}


def test_the_rights_that_the_docs_name_are_enough_and_no_more_is_given(
    lake: Place, s3_server: ObjectStore, s3: Any
):
    user = with_rights(s3_server, documented_policy())
    use_client(lambda: client(user))
    run = in_s3(lake, inputs={"x": {"type": "float64", "max": 2000}})
    for _ in range(2):
        assert score_partition(run, {}, workers=1).rows.scored == 2000
    assert not [key for key in keys(s3) if "/_staging/" in key or ".next-" in key]
    for key in (f"lake/source/{MONTH}.parquet", "lake/models/v1.skops", "elsewhere"):
        with pytest.raises(PublicationError, match="these credentials may not do this"):
            write(storage_for(f"s3://{BUCKET}/"), f"s3://{BUCKET}/{key}", b"")


def test_without_the_right_to_list_uploads_a_month_is_published_all_the_same(
    lake: Place, s3_server: ObjectStore, s3: Any
):
    rights = documented_policy()
    rights["Statement"][0]["Action"].remove("s3:List*")
    user = with_rights(s3_server, rights)
    s3.create_multipart_upload(Bucket=BUCKET, Key=OUTPUT)
    use_client(lambda: client(user))
    assert score_partition(in_s3(lake), {}, workers=1).rows.scored == 2500
    assert uploads(s3) == [OUTPUT]  # a rule of the bucket has to remove it


@pytest.mark.parametrize("writable", ["", "lake/out/_staging/"])
def test_a_missing_permission_to_publish_is_reported_before_anything_is_read_or_scored(
    lake: Place, s3_server: ObjectStore, s3: Any, writable: str
):
    rights = policy((["s3:ListBucket"], BUCKET), (["s3:GetObject"], f"{BUCKET}/*"))
    if writable:
        extra = policy((["s3:PutObject", "s3:DeleteObject"], f"{BUCKET}/{writable}*"))
        rights["Statement"] += extra["Statement"]
    user = with_rights(s3_server, rights)
    use_client(lambda: client(user))
    seen: list[int] = []
    with pytest.raises(PublicationError) as error:
        score_partition(
            in_s3(lake), {}, workers=1, on_progress=lambda step, rows, total: seen.append(rows)
        )
    assert f"s3://{BUCKET}/{OUTPUT}: these credentials may not do this" in str(error.value)
    assert "docs/s3.md" in str(error.value)
    assert seen == []
    assert keys(s3, "lake/out") == []


def sent_by(client: Any) -> list[tuple[str, dict[str, Any]]]:
    """What this client asks for from now on: operations and parameters, as botocore sends them."""
    sent: list[tuple[str, dict[str, Any]]] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        sent.append((model.name, dict(params["headers"])))

    client.meta.events.register("before-call.s3", note)
    return sent


def noting(server: ObjectStore, notes: Path) -> Any:
    """A new client, which writes the operation of each request that asks for encryption to
    ``notes``, after a plus, and that of each other one after a minus.

    The processes of a run have a client each: one that is shared across a fork takes its twin's
    answers.
    """
    new = client(server)

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        encrypts = params["headers"].get("x-amz-server-side-encryption")
        with notes.open("a") as lines:
            lines.write(f"{'+' if encrypts else '-'}{model.name}\n")

    new.meta.events.register("before-call.s3", note)
    return new


def test_objects_are_encrypted_as_the_job_says(
    s3: Any, s3_server: ObjectStore, tmp_path: Path, lake: Place
):
    notes = tmp_path / "requests"
    use_client(lambda: noting(s3_server, notes))
    run = in_s3(
        lake,
        destination={"uri": "{data}/out", "sse": "AES256"},
        inputs={"x": {"type": "float64", "max": 2000}},
    )
    manifest = score_partition(run, {}, workers=1)
    sent = set(notes.read_text().split())
    assert {"+PutObject", "+CopyObject", "+CreateMultipartUpload"} <= sent
    assert not {"-PutObject", "-CopyObject", "-CreateMultipartUpload"} & sent
    assert manifest.quarantine is not None
    for key in keys(s3, "lake/out/"):
        head = s3.head_object(Bucket=BUCKET, Key=key)
        assert head["ServerSideEncryption"] == "AES256", key
    assert storage_for(manifest.output.uri).sha256(manifest.output.uri) == manifest.output.sha256


def test_the_key_for_encryption_is_named_with_every_write(s3: Any, s3_server: ObjectStore):
    """The server of the tests has no key service: it refuses, and what was asked for is looked at."""
    impatient = client(s3_server, retries={"total_max_attempts": 1})
    sent = sent_by(impatient)
    storage = S3Storage(impatient, Encryption("aws:kms", "key-1").parameters)
    source, target = f"s3://{BUCKET}/a", f"s3://{BUCKET}/b"
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    sent.clear()
    for ask in (
        lambda: write(storage, source, b"x"),
        lambda: storage.create(target, Unchanged(storage.version(target))).abort(),
        lambda: storage.move(source, target),
    ):
        with contextlib.suppress(PublicationError):
            ask()
    asked = {
        op: (
            headers.get("x-amz-server-side-encryption"),
            headers.get("x-amz-server-side-encryption-aws-kms-key-id"),
        )
        for op, headers in sent
        if op in ("PutObject", "CopyObject", "CreateMultipartUpload")
    }
    assert asked == dict.fromkeys(
        ("PutObject", "CopyObject", "CreateMultipartUpload"), ("aws:kms", "key-1")
    )


def test_what_is_too_large_for_one_copy_is_moved_in_parts(s3: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(s3_module, "COPY_PART_BYTES", 5 << 20)
    storage, data = S3Storage(s3, {"ServerSideEncryption": "AES256"}), random.Random(1).randbytes
    source, target = f"s3://{BUCKET}/staged", f"s3://{BUCKET}/moved"
    write(storage, source, whole := data(11 << 20))
    sent = sent_by(s3)
    storage.move(source, target)
    assert [op for op, _ in sent].count("UploadPartCopy") == 3
    assert storage.read(target) == whole
    assert s3.head_object(Bucket=BUCKET, Key="moved")["ServerSideEncryption"] == "AES256"
    assert (keys(s3), uploads(s3)) == (["moved"], [])


def test_a_month_that_is_not_there_names_its_uri(lake: Place, s3: Any):
    s3.delete_object(Bucket=BUCKET, Key=f"lake/source/{MONTH}.parquet")
    with pytest.raises(SourceMissingError, match=f"s3://{BUCKET}/lake/source/{MONTH}.parquet"):
        score_partition(in_s3(lake), {}, workers=1)


def test_an_object_must_have_the_digest_that_the_job_gives(lake: Place, s3: Any):
    data = (lake.data / "source" / f"{MONTH}.parquet").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    manifest = score_partition(in_s3(lake, source={"sha256": {MONTH: digest}}), {}, workers=1)
    (file,) = manifest.source.files
    assert (file.sha256, bool(file.etag)) == (digest, True)
    with pytest.raises(SourceError, match=f"its digest is {digest}, and {'0' * 64} was expected"):
        score_partition(in_s3(lake, source={"sha256": {MONTH: "0" * 64}}), {}, workers=1)
