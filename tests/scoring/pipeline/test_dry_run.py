"""``run --dry-run``: the bytes of a run, in a folder of one's own, and nothing else is changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.cli.main import main
from scoring.errors import DestinationTakenError, HeldError, PublicationError, SourceMissingError
from scoring.pipeline.dry_run import dry_run
from tests.scoring.factories import MONTH, Place, in_s3, linear, rows, run_steps

DRIFT = {"drift": {"hold": {"PSI": 0.25}}, "max_quarantined_fraction": 1.0}


def in_folder(place: Place) -> list[str]:
    return ["--jobs", str(place.folder), "--data", str(place.data), "--workers", "1"]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


@pytest.fixture
def three_bad_rows(place: Place) -> Place:
    """Twelve rows, of which two are quarantined and one is left out."""
    place.source(rows(12, x=[1.0, None, float("inf"), *range(4, 13)]))
    place.job(leave_out={"twelve": "x = 12"}, output={"keep_left_out": True})
    return place


def test_the_bytes_are_those_of_the_run_that_follows(three_bad_rows: Place, tmp_path: Path):
    place, own = three_bad_rows, tmp_path / "own"
    job = place.job(leave_out={"twelve": "x = 12"}, output={"keep_left_out": True})
    tried = dry_run(place.run(job), own, workers=1)
    assert not place.out.exists()
    real = run_steps(place.run(job))
    assert tried.output.sha256 == real.output.sha256
    assert tried.rows == real.rows
    assert (tried.rows.quarantined, tried.rows.left_out) == (2, 1)
    ours = {path.relative_to(own).as_posix(): path for path in own.rglob("*.parquet")}
    theirs = {path.relative_to(place.out).as_posix(): path for path in place.out.rglob("*.parquet")}
    assert ours.keys() == theirs.keys()
    assert len(ours) == 3
    for name, path in ours.items():
        assert path.read_bytes() == theirs[name].read_bytes()
    assert json.loads((own / "_manifests" / f"month={MONTH}.json").read_text())["run"] == {
        "by": "dry run"
    }


def test_what_is_published_stays_byte_for_byte(three_bad_rows: Place, tmp_path: Path):
    place = three_bad_rows
    assert main(["run", "sample", MONTH, *in_folder(place)]) == 0
    assert main(["coverage", "sample", "--now", "2013-04-01", *in_folder(place)[:4]]) == 0
    place.model(linear(9.0))
    before = digests(place.out)
    assert any(name.endswith("_index.json") for name in before)
    dry_run(place.run(), tmp_path / "own", workers=1)
    assert digests(place.out) == before


def test_columns_have_the_types_that_are_published_so_far(place: Place, tmp_path: Path):
    whole = place.scorer("def run(df):\n    return df.x.astype('int64').to_frame('y')")
    run_steps(place.run(place.job(scorer=whole, output={"types": {"y": "float64"}})))
    place.source(rows(3), "2013-03.parquet")
    manifest = dry_run(place.run(place.job(scorer=whole), "2013-03"), tmp_path / "own", workers=1)
    assert manifest.columns["y"] == "double"
    assert pq.read_schema(manifest.output.uri).field("y").type == pa.float64()


def drifted(place: Place) -> None:
    for key, mean in (("2013-02", 0.0), ("2013-03", 3.0)):
        x = np.random.default_rng(7).normal(mean, 1.0, 400)
        place.source(pa.table({"id": range(400), "x": x}), f"{key}.parquet")
    run_steps(place.run(place.job(checks=DRIFT)))


def test_what_a_run_would_hold_is_an_error_after_the_files_are_written(
    place: Place, tmp_path: Path
):
    drifted(place)
    before = digests(place.out)
    run = place.run(place.job(checks=DRIFT), "2013-03")
    with pytest.raises(HeldError, match="would be held") as raised:
        dry_run(run, tmp_path / "own", workers=1)
    assert "x, compared with 2013-02: PSI" in str(raised.value)
    assert digests(place.out) == before  # no record of it under _held
    manifest = json.loads((tmp_path / "own/_manifests/month=2013-03.json").read_text())
    assert {one["reference"] for one in manifest["drift"]} == {"2013-02"}


@pytest.mark.parametrize("where", [".", "own", "..", "month=2013-02", "_staging/x"])
def test_no_folder_of_the_destination_is_taken(place: Place, where: str):
    folder = place.out / where
    with pytest.raises(PublicationError, match=r"overlaps with the destination of sample"):
        dry_run(place.run(), folder)
    assert not place.out.exists()


def test_a_link_to_the_destination_is_seen_through(place: Place, tmp_path: Path):
    place.out.mkdir()
    (tmp_path / "link").symlink_to(place.out)
    with pytest.raises(PublicationError, match="overlaps"):
        dry_run(place.run(), tmp_path / "link" / "own")


def test_braces_in_the_name_of_the_folder_are_braces(place: Place, tmp_path: Path):
    manifest = dry_run(place.run(), tmp_path / "{data}", workers=1)
    assert manifest.output.uri == str(tmp_path / "{data}" / "month=2013-02/predictions.parquet")


def test_another_jobs_destination_is_refused(place: Place, tmp_path: Path):
    run_steps(place.run())
    other = place.folder / "other.yaml"
    other.write_text((place.folder / "sample.yaml").read_text().replace("sample", "other"))
    from scoring.job.loader import load_job

    with pytest.raises(DestinationTakenError):
        dry_run(place.run(load_job(other)), tmp_path / "own", workers=1)
    assert not (tmp_path / "own").exists()


def test_errors_of_a_run_leave_nothing(place: Place, tmp_path: Path):
    with pytest.raises(SourceMissingError):
        dry_run(place.run(key="2013-03"), tmp_path / "own", workers=1)
    assert [path for path in tmp_path.glob("own/**/*") if path.is_file()] == []


def test_the_command_says_that_nothing_was_published(
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    place.job()
    monkeypatch.chdir(tmp_path)
    command = ["run", "sample", MONTH, *in_folder(place), "--dry-run"]
    assert main(command) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "dry run: nothing was published for sample 2013-02; what a run would publish is in "
        ".run/dry-run/sample"
    )
    assert (tmp_path / ".run/dry-run/sample/month=2013-02/predictions.parquet").is_file()
    assert main([*command, "--json", "--out", "mine"]) == 0  # again, and elsewhere
    printed = capsys.readouterr()
    assert json.loads(printed.out)["output"]["uri"] == str(
        tmp_path / "mine/month=2013-02/predictions.parquet"
    )
    assert "nothing was published" in printed.err
    assert not place.out.exists()


def test_a_range_is_tried_month_by_month(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    drifted(place)
    before = digests(place.out)
    command = ["run", "sample", "2013-02..2013-03", *in_folder(place), "--dry-run", "--json"]
    assert main([*command, "--out", str(tmp_path / "own")]) == HeldError.exit_status
    printed = capsys.readouterr()
    february, march = json.loads(printed.out)
    assert february["state"] == "dry run"
    assert (march["state"], "would be held" in march["error"]) == ("failed", True)
    assert "2013-02: 400 rows scored, not published" in printed.err
    assert digests(place.out) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "own"], "--out is the folder of --dry-run"),
        (["--dry-run", "--out", "s3://bucket/own"], "is not a folder of this machine"),
    ],
)
def test_a_folder_that_means_nothing_is_refused(
    place: Place, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    place.job()
    try:
        status = main(["run", "sample", MONTH, *in_folder(place), *options])
    except SystemExit as ended:
        status = int(str(ended.code))
    assert status == 2
    assert message in capsys.readouterr().err
    assert not place.out.exists()


def test_a_month_that_changes_too_much_would_be_held(place: Place, tmp_path: Path):
    run_steps(place.run(place.job()))
    before = digests(place.out)
    place.model(linear(slope=3.0))
    limited = {"max_changed_fraction": 0.5, "max_quarantined_fraction": 1.0}
    with pytest.raises(HeldError, match=r"would be held\n  1.0000 of 10 rows differ"):
        dry_run(place.run(place.job(checks=limited)), tmp_path / "own", workers=1)
    assert digests(place.out) == before
    assert pq.read_table(tmp_path / "own" / "month=2013-02" / "predictions.parquet").num_rows == 10
    more = {**limited, "max_changed_fraction": 1.0}
    manifest = dry_run(place.run(place.job(checks=more)), tmp_path / "own", workers=1)
    assert manifest.difference is not None
    assert manifest.difference["changed"] == 10


def test_challengers_are_tried_too(place: Place, tmp_path: Path):
    place.model(linear(slope=3.0), "v2.skops")
    versions = [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
        {"version": "v2", "uri": "{models}/v2.skops", "candidate": True},
    ]
    job = place.job(model={"versions": versions}, challengers=["v2"])
    manifest = dry_run(place.run(job), tmp_path / "own", workers=1)
    (record,) = manifest.challengers
    assert record.output is not None
    assert record.output.uri.startswith(str(tmp_path / "own" / "_challengers" / "v2"))
    assert not place.out.exists()


def test_a_destination_in_s3_is_tried_on_this_machine(lake: Place, tmp_path: Path):
    run = in_s3(lake)
    manifest = dry_run(run, tmp_path / "own", workers=1)
    assert manifest.output.uri == str(tmp_path / "own/month=2013-02/predictions.parquet")
    assert list(run.publisher.all_published()) == []
    assert run_steps(run).output.sha256 == manifest.output.sha256
