"""``versions``, ``promote`` and ``check``: which version scored what, and what a promotion makes stale."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from scoring.cli import promote
from scoring.cli.main import main
from scoring.pipeline.local import score_partition
from tests.scoring.factories import Place, linear, rows

ROOT = Path(__file__).parents[3]
FLIGHTS = ROOT / "dags" / "jobs" / "flight_delay.yaml"
MONTHS = ("2013-02", "2013-03", "2013-04")
V1 = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}
V2 = {"version": "v2", "uri": "{models}/v2.skops", "candidate": True}


@pytest.fixture
def place(empty: Place) -> Place:
    """Three months of ten rows, scored by v1; v2 is a candidate."""
    empty.model()
    empty.model(linear(slope=3.0), "v2.skops")
    job = empty.job(model={"versions": [V1, V2]})
    for key in MONTHS:
        empty.source(rows(10), f"{key}.parquet")
        score_partition(empty.run(job, key), {"by": "test"}, workers=1)
    return empty


def where(place: Place) -> list[str]:
    return [str(place.folder / "sample.yaml"), "--data", str(place.data)]


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def stale(capsys: pytest.CaptureFixture[str], *at: str) -> list[str]:
    found = as_json(capsys, "coverage", *at, "--now", "2014-01-02T12:00Z")
    return [one["partition"] for one in found if one["state"] == "stale"]


def test_a_promotion_of_the_flight_job_makes_exactly_the_months_from_its_date_on_stale(
    tmp_path: Path, example_data: Path, capsys: pytest.CaptureFixture[str]
):
    """The real job and its real months; what was a candidate is in force from September on."""
    before = FLIGHTS.read_text().replace(
        "in_force_from: 2013-07}",
        'in_force_from: 2013-07}\n    - {version: v3, uri: "{models}/flight_delay/v1.skops", candidate: true}',
    )
    before = before.replace('uri: "{data}/predictions', f'uri: "{tmp_path}/predictions')
    job = tmp_path / "flight_delay.yaml"
    job.write_text(before)
    at = [str(job), "--data", str(example_data)]
    assert main(["run", at[0], "2013-07..2013-12", *at[1:]]) == 0
    capsys.readouterr()
    assert stale(capsys, *at) == []
    found = as_json(capsys, "promote", at[0], "v3", "--from", "2013-09", *at[1:])
    assert found["stale"] == ["2013-09..2013-12: v3 is in force, v2 scored it"]
    assert stale(capsys, *at) == ["2013-09", "2013-10", "2013-11", "2013-12"]
    assert job.read_text() == before.replace("candidate: true", "in_force_from: 2013-09")
    comments = [line for line in before.splitlines() if "#" in line]
    assert comments
    assert [line for line in job.read_text().splitlines() if "#" in line] == comments
    assert main(["run", at[0], "2013-07..2013-12", "--only-stale", *at[1:]]) == 0
    capsys.readouterr()
    assert stale(capsys, *at) == []


def test_promote_prints_the_diff_and_what_becomes_stale(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    path = place.folder / "sample.yaml"
    path.chmod(0o640)
    job, *data = where(place)
    assert main(["promote", job, "v2", "--from", "2013-03", "--dry-run", *data]) == 0
    printed = capsys.readouterr().out
    assert "+    in_force_from: 2013-03\n" in printed
    assert "-    candidate: true\n" in printed
    assert "v2 is in force from 2013-03 on." in printed
    assert "become stale:\n  2013-03..2013-04: v2 is in force, v1 scored it.\n" in printed
    assert printed.endswith("Nothing was written (--dry-run).\n")
    assert "candidate: true" in path.read_text()
    assert main(["promote", job, "v2", "--from", "2013-03", *data]) == 0
    assert "candidate" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in place.folder.iterdir() if p.is_file()] == ["sample.yaml"]


def test_promote_follows_a_link(place: Place, capsys: pytest.CaptureFixture[str]):
    path = place.folder / "sample.yaml"
    real = place.folder / "real" / "sample.yaml"
    real.parent.mkdir()
    path.rename(real)
    path.symlink_to(real)
    job, *data = where(place)
    assert main(["promote", job, "v2", "--from", "2013-03", *data]) == 0
    assert path.is_symlink()
    assert "in_force_from: 2013-03" in real.read_text()
    capsys.readouterr()


def test_the_date_of_a_version_in_force_is_not_moved_without_a_word(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    job, *data = where(place)
    assert main(["promote", job, "v2", "--from", "2013-04", *data]) == 0
    before = Path(job).read_text()
    capsys.readouterr()
    assert main(["promote", job, "v2", "--from", "2013-03", *data]) == 2
    assert capsys.readouterr().err == (
        "error: v2 is in force from 2013-04 on; with --move it is from 2013-03 on, and these "
        "partitions become stale:\n  2013-03: v2 is in force, v1 scored it. Nothing was written\n"
    )
    assert Path(job).read_text() == before
    assert main(["promote", job, "v2", "--from", "2013-03", "--move", *data]) == 0
    assert "in_force_from: 2013-03" in Path(job).read_text()


def test_what_cannot_be_promoted_leaves_the_file(place: Place, capsys: pytest.CaptureFixture[str]):
    job, *data = where(place)
    before = Path(job).read_bytes()
    for version, since, says in (
        ("v9", "2013-03", "no model version 'v9'"),
        ("v2", "2013-3", "--from: '2013-3' is not a month"),
        ("v2", "2013-02", "v1 is in force from 2013-02 on already"),
    ):
        assert main(["promote", job, version, "--from", since, *data]) == 2
        assert says in capsys.readouterr().err
    assert Path(job).read_bytes() == before


def test_a_partition_that_no_version_covers_any_longer_is_said(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    job, *data = where(place)
    assert main(["promote", job, "v1", "--from", "2013-03", "--move", *data]) == 0
    printed = capsys.readouterr().out
    assert (
        "  2013-02: no model version is in force any longer, so it cannot be scored again"
        in printed
    )
    assert "scoring plan" not in printed


def test_an_edit_meanwhile_is_not_lost(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    job, *data = where(place)
    path = Path(job)
    before = path.read_text()
    monkeypatch.setattr(
        promote, "_newly_stale", lambda *_: path.write_text(before + "# of somebody else\n") and []
    )
    assert main(["promote", job, "v2", "--from", "2013-03", *data]) == 2
    assert "was changed meanwhile" in capsys.readouterr().err
    assert path.read_text() == before + "# of somebody else\n"
    assert [p.name for p in place.folder.iterdir() if p.is_file()] == ["sample.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_the_owner_of_the_file_stays(place: Place, capsys: pytest.CaptureFixture[str]):
    job, *data = where(place)
    os.chown(job, 65534, 65534)
    assert main(["promote", job, "v2", "--from", "2013-03", *data]) == 0
    assert (Path(job).stat().st_uid, Path(job).stat().st_gid) == (65534, 65534)
    capsys.readouterr()


def test_a_destination_that_cannot_be_read_is_said(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    job, *data = where(place)
    (place.out / "_manifests" / "month=2013-02.json").write_text("{")
    (place.out / "_index.json").unlink(missing_ok=True)
    assert main(["promote", job, "v2", "--from", "2013-04", "--dry-run", *data]) == 0
    printed = capsys.readouterr()
    assert "warning: what is published was not compared: " in printed.err
    assert "become stale" not in printed.out


def test_versions_says_what_each_has_scored(place: Place, capsys: pytest.CaptureFixture[str]):
    job, *data = where(place)
    context = place.run(place.job(model={"versions": [V1, V2]}, challengers=["v2"]), "2013-04")
    score_partition(context, {"by": "test"}, "v2", workers=1)
    one, two = as_json(capsys, "versions", job, *data)
    assert (one["version"], one["state"], one["scored"]) == (
        "v1",
        "in force 2013-02 on",
        ["2013-02..2013-03"],
    )
    assert (one["partitions"], one["rows"], one["mean"]) == (2, 20, pytest.approx(11.0))
    assert (two["version"], two["state"], two["scored"]) == (
        "v2",
        "candidate, challenger",
        ["2013-04"],
    )
    assert two["last_published"] >= one["last_published"] > "2026"
    assert main(["versions", job, *data]) == 0
    assert "in force 2013-02 on" in capsys.readouterr().out
    place.job()
    _, gone = as_json(capsys, "versions", job, *data)
    assert (gone["version"], gone["state"]) == ("v2", "not in the job file")


def test_check_says_what_an_edit_of_history_makes_stale(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    job, *data = where(place)
    assert main(["check", job, *data]) == 0
    assert capsys.readouterr().err == ""
    place.job(model={"versions": [V1, {**V2, "candidate": False, "in_force_from": "2013-03"}]})
    assert main(["check", job, *data]) == 0
    assert capsys.readouterr().err == (
        "warning: sample: published, and stale by this file: 2013-03..2013-04: v2 is in force, v1 "
        "scored it\n"
    )
    monkeypatch.chdir(place.folder)
    (found,) = as_json(capsys, "check", "sample.yaml", *data)
    assert found["stale"] == ["2013-03..2013-04: v2 is in force, v1 scored it"]
    place.job(model={"versions": [V1 | {"sha256": "0" * 64}]})
    assert main(["check", job, *data]) == 0
    assert "2013-02..2013-04: the job pins another file as v1" in capsys.readouterr().err
    place.job(model={"versions": [V1 | {"in_force_from": "2013-03"}]})
    assert main(["check", job, *data]) == 0
    assert "2013-02: no model version is in force" in capsys.readouterr().err
