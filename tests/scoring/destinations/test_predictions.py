"""``scoring.load_predictions``: published months as one DataFrame, with their manifests."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import scoring
from scoring import JobError, PartitionError, PublicationError, load_predictions
from scoring.storage.local import LocalStorage
from tests.s3_server import connections
from tests.scoring.factories import MONTH, Place, in_s3, linear, rows, run_steps


@pytest.fixture
def months(place: Place) -> Place:
    """February to April, of which March is not published."""
    place.source(rows(4, id=[9, 8, 7, 6]), "2013-04.parquet")
    for key in ("2013-02", "2013-04"):
        run_steps(place.run(key=key))
    return place


def load(place: Place, partitions: Any) -> pd.DataFrame:
    return load_predictions(place.folder / "sample.yaml", partitions, data=str(place.data))


def test_months_follow_each_other_with_the_rows_in_their_order(months: Place):
    frame = load(months, ["2013-04", "2013-02"])
    assert list(frame.columns) == ["id", "y", "model_version", "partition"]
    assert frame["id"].tolist() == [*range(1, 11), 9, 8, 7, 6]
    assert frame["partition"].tolist() == ["2013-02"] * 10 + ["2013-04"] * 4
    assert frame.index.tolist() == list(range(14))
    one = load(months, MONTH)
    pd.testing.assert_frame_equal(
        one, pd.read_parquet(months.out / f"month={MONTH}/predictions.parquet", partitioning=None)
    )


def test_the_manifests_lie_beside_the_rows(months: Place):
    frame = load(months, ["2013-02", "2013-04"])
    manifests = frame.attrs["manifests"]
    assert list(manifests) == ["2013-02", "2013-04"]
    assert [m["rows"]["scored"] for m in manifests.values()] == [10, 4]
    assert manifests["2013-02"]["model"]["version"] == "v1"
    assert frame[frame["y"] > 3].attrs["manifests"] == manifests  # which pandas hands on
    assert copy.deepcopy(frame.attrs)["manifests"] is manifests
    kept = io.BytesIO()
    frame.to_parquet(kept)  # which keeps them in the file
    assert pd.read_parquet(kept).attrs["manifests"]["2013-04"]["rows"]["scored"] == 4


def test_a_job_is_named_as_in_the_shell(months: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCORING_JOBS", str(months.folder))
    monkeypatch.setenv("SCORING_DATA", str(months.data))
    for job in ("sample", str(months.folder / "sample.yaml"), months.job()):
        assert len(load_predictions(job, MONTH)) == 10
    with pytest.raises(JobError, match="there is no job 'simple'"):
        load_predictions("simple", MONTH)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("2013-03", "sample 2013-03 under .*; `scoring run sample 2013-03` scores it"),
        (
            "2013-02..2013-05",
            "2013-03, 2013-05 under .*; `scoring run sample 2013-03..2013-05 --only-missing` scores",
        ),
    ],
)
def test_months_that_are_not_published_are_all_named_with_the_command(
    months: Place, wanted: str, message: str
):
    with pytest.raises(PublicationError, match=message):
        load(months, wanted)


def test_a_key_that_is_none_is_refused(months: Place):
    with pytest.raises(PartitionError, match="'2013-2' is not a month"):
        load(months, "2013-2")


def test_integers_with_nulls_keep_their_digits(place: Place):
    large = (1 << 53) + 1
    place.source(rows(3, big=[large, None, 3]))
    run_steps(place.run(place.job(output={"keep": ["big"]})))
    frame = load(place, MONTH)
    assert frame["big"].dtype == "Int64"
    assert (frame["big"].iloc[0], frame["big"].isna().tolist()) == (large, [False, True, False])


def test_a_column_that_later_months_add_is_null_before(place: Place):
    place.source(rows(2), "2013-02.parquet")
    place.source(rows(2, note=["a", "b"]), "2013-03.parquet")
    run_steps(place.run())
    run_steps(place.run(place.job(output={"keep": ["note"]}), "2013-03"))
    frame = load(place, "2013-02..2013-03")
    assert frame["note"].isna().tolist() == [True, True, False, False]


def test_rows_and_manifest_are_of_one_publication(place: Place, monkeypatch: pytest.MonkeyPatch):
    run_steps(place.run())
    place.model(linear(7.0), "v2.skops")
    second = [{"version": "v2", "uri": "{models}/v2.skops", "in_force_from": MONTH}]
    read, published = LocalStorage.read, []

    def replaced_before(self: LocalStorage, uri: str) -> bytes | None:
        if uri.endswith("predictions.parquet") and not published:
            published.append(run_steps(place.run(place.job(model={"versions": second}))))
        return read(self, uri)

    monkeypatch.setattr(LocalStorage, "read", replaced_before)
    frame = load(place, MONTH)
    assert frame.attrs["manifests"][MONTH]["model"]["version"] == "v2"
    assert frame["y"].tolist() == pytest.approx([7.0 * i for i in range(1, 11)])


def test_a_file_that_is_not_what_was_published_is_refused(months: Place):
    path = months.out / f"month={MONTH}/predictions.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(PublicationError, match=r"`scoring verify sample 2013-02` says"):
        load(months, MONTH)
    path.unlink()
    with pytest.raises(PublicationError, match="is not what its manifest describes"):
        load(months, MONTH)


def test_another_jobs_months_are_refused(months: Place):
    other = months.folder / "other.yaml"
    other.write_text((months.folder / "sample.yaml").read_text().replace("sample", "other"))
    with pytest.raises(PublicationError, match="is the job sample's, not other's"):
        load_predictions(other, MONTH, data=str(months.data))


def test_months_in_s3(lake: Place):
    run = in_s3(lake)
    run_steps(run)
    frame = load_predictions(
        run.job_file, MONTH, data="s3://scoring/lake", connections=connections()
    )
    assert frame["id"].tolist() == list(range(1, 2501))
    assert frame.attrs["manifests"][MONTH]["output"]["uri"].startswith("s3://scoring/lake/out")


def test_no_partition_gives_no_rows(months: Place):
    frame = load(months, [])
    assert (len(frame), frame.attrs["manifests"]) == (0, {})


def test_the_name_is_in_the_public_api_and_imports_nothing_before_it_is_used():
    code = (
        "import sys, scoring; assert 'pandas' not in sys.modules; scoring.load_predictions; "
        "assert 'pandas' in sys.modules"
    )
    root = Path(scoring.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    assert "load_predictions" in scoring.__all__
