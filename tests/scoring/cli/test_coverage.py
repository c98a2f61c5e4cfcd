"""``scoring coverage``, ``scoring plan`` and the states that ``scoring run`` is limited to."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from scoring.cli.main import main
from scoring.destinations.attempts import LOCK
from tests.scoring.factories import JOB, MONTH, Place, linear, rows, run_steps

NOW = ("--now", "2014-01-02T03:00Z")


@pytest.fixture
def jobs(place: Place) -> Place:
    """February is published, March is stale as v2 is in force, April and May are missing."""
    place.source(rows(10), "2013-03.parquet")
    job = place.job(end="2013-05")
    run_steps(place.run(job))
    run_steps(place.run(job, "2013-03", "b"))
    digest = place.model(linear(3.0), "v2.skops")
    v2 = {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-03", "sha256": digest}
    place.job(end="2013-05", model={"versions": [*JOB["model"]["versions"], v2]})
    return place


def shown(place: Place, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    folders = ("--jobs", str(place.folder), "--data", str(place.data))
    assert main([*arguments, *folders]) == 0
    return capsys.readouterr().out


def as_json(place: Place, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(shown(place, capsys, *arguments, "--json"))


def test_coverage_is_a_line_for_each_year(jobs: Place, capsys: pytest.CaptureFixture[str]):
    printed = [line.rstrip() for line in shown(jobs, capsys, "coverage", *NOW).splitlines()]
    assert printed == [
        "job           01 02 03 04 05 06 07 08 09 10 11 12",
        "sample  2013     P  S  M  M",
        "",
        "sample 2013-03: stale: v2 is in force, v1 scored it",
        "sample 2013-04..2013-05: missing",
        "1 published (P), 1 stale (S), 0 held (H), 0 failed (F), 2 missing (M)",
    ]


def test_coverage_as_json(jobs: Place, capsys: pytest.CaptureFixture[str]):
    found = as_json(jobs, capsys, "coverage", "sample", *NOW)
    assert [(of["partition"], of["state"]) for of in found] == [
        ("2013-02", "published"),
        ("2013-03", "stale"),
        ("2013-04", "missing"),
        ("2013-05", "missing"),
    ]
    assert found[1] == {
        "job": "sample",
        "partition": "2013-03",
        "state": "stale",
        "model_version": "v1",
        "reasons": [{"code": "model", "detail": "v2 is in force, v1 scored it"}],
        "unchecked": [],
    }


def test_coverage_ends_with_the_last_partition_that_is_over(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    found = as_json(jobs, capsys, "coverage", "--now", "2013-04-30T23:59Z")
    assert [of["partition"] for of in found] == ["2013-02", "2013-03"]
    # Without --now by the clock: the job has ended.
    assert len(as_json(jobs, capsys, "coverage")) == 4


def test_a_moment_that_is_none(jobs: Place, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["coverage", "--jobs", str(jobs.folder), "--now", "yesterday"])
    assert "'yesterday' is not a moment such as 2014-01-02T03:00Z" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("partition", "changes", "line"),
    [
        ("week", {"schedule": "0 3 * * 2", "start": "2013-W05"}, "sample  2013"),
        ("day", {"schedule": "0 3 * * *", "start": "2013-02-27"}, "sample  2013-02"),
        ("hour", {"schedule": "15 * * * *", "start": "2013-02-27T23+0000"}, "sample  2013-02-27"),
    ],
)
def test_other_kinds_of_partitions_fold_too(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    partition: str,
    changes: dict[str, Any],
    line: str,
):
    versions = [JOB["model"]["versions"][0] | {"in_force_from": changes["start"]}]
    place.job(partition=partition, model={"versions": versions}, **changes)
    printed = shown(place, capsys, "coverage", "--now", "2013-02-28T02:00Z")
    assert line in printed
    assert "M" in printed.splitlines()[1] or partition == "week"


def test_a_job_that_cannot_be_looked_at_leaves_the_others(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    (jobs.folder / "broken.yaml").write_text("name: broken\n")
    manifest = jobs.out / "_manifests/month=2013-02.json"
    manifest.write_text("{")
    folders = ("--jobs", str(jobs.folder), "--data", str(jobs.data))
    assert main(["coverage", *NOW, *folders]) == 7
    printed = capsys.readouterr()
    assert "broken.yaml is not a valid job file" in printed.err
    assert f"{manifest} is not a manifest" in printed.err


def test_plan_says_what_why_and_how(jobs: Place, capsys: pytest.CaptureFixture[str]):
    assert shown(jobs, capsys, "plan", "sample", *NOW).splitlines() == [
        "sample 2013-03: stale: v2 is in force, v1 scored it",
        "sample 2013-04..2013-05: missing",
        "",
        "3 months to score:",
        "",
        "airflow backfill create --dag-id sample --from-date 2013-03-01 --to-date 2013-05-31 "
        "--reprocess-behavior completed --dag-run-conf '{}'",
    ]


def test_plan_of_some_states(jobs: Place, capsys: pytest.CaptureFixture[str]):
    plan = as_json(jobs, capsys, "plan", "sample", "--stale", *NOW)
    assert [of["partition"] for of in plan["partitions"]] == ["2013-03"]
    (command,) = plan["commands"]
    assert shlex.split(command)[-6:-4] == ["--to-date", "2013-03-31"]
    plan = as_json(jobs, capsys, "plan", "sample", "--stale", "--missing", *NOW)
    assert len(plan["partitions"]) == 3


def test_nothing_to_plan(jobs: Place, capsys: pytest.CaptureFixture[str]):
    printed = shown(jobs, capsys, "plan", "sample", "--failed", *NOW)
    assert printed == "sample: nothing to score\n"


def test_run_only_stale(jobs: Place, capsys: pytest.CaptureFixture[str]):
    found = as_json(jobs, capsys, "run", "sample", "2013-02..2013-04", "--only-stale")
    assert [(of["partition"], of["state"], of["model_version"]) for of in found] == [
        ("2013-02", "published before", "v1"),
        ("2013-03", "published", "v2"),
    ]
    states = as_json(jobs, capsys, "coverage", *NOW)
    assert [of["state"] for of in states][:2] == ["published", "published"]


def test_run_one_partition_only_if_stale(jobs: Place, capsys: pytest.CaptureFixture[str]):
    (found,) = as_json(jobs, capsys, "run", "sample", MONTH, "--only-stale")
    assert found["state"] == "published before"


def test_run_only_what_is_stale_or_missing(jobs: Place, capsys: pytest.CaptureFixture[str]):
    jobs.source(rows(10), "2013-04.parquet")
    found = as_json(
        jobs, capsys, "run", "sample", "2013-02..2013-04", "--only-stale", "--only-missing"
    )
    assert [of["state"] for of in found] == ["published before", "published", "published"]


@pytest.fixture
def killed(jobs: Place) -> Place:
    """What ``jobs`` is, but a run of April was killed: its staging is there, its process is not."""
    jobs.source(rows(10), "2013-04.parquet")
    jobs.source(rows(10), "2013-05.parquet")
    staged = jobs.out / "_staging/month=2013-04/shell"
    staged.mkdir(parents=True)
    (staged / "rows-00000.arrow").write_bytes(b"rows")
    staged.with_name(f"shell{LOCK}").touch()
    return jobs


@pytest.mark.parametrize(
    ("options", "scored"),
    [
        (["--only-failed"], ["2013-04"]),
        (["--failed"], ["2013-04"]),
        (["--only-failed", "--only-stale"], ["2013-03", "2013-04"]),
        (["--only-missing"], ["2013-04", "2013-05"]),
        (["--missing", "--stale"], ["2013-03", "2013-04", "2013-05"]),
    ],
    ids=" ".join,
)
def test_run_only_some_states(
    killed: Place, capsys: pytest.CaptureFixture[str], options: list[str], scored: list[str]
):
    found = as_json(killed, capsys, "run", "sample", "2013-02..2013-05", *options)
    assert [of["partition"] for of in found if of["state"] == "published"] == scored
    states = as_json(killed, capsys, "coverage", *NOW)
    again = [of["partition"] for of in states if of["state"] == "published"]
    assert again == ["2013-02", *scored]


def test_what_is_held_waits_for_a_decision_and_is_not_scored_as_missing(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    jobs.source(rows(10), "2013-04.parquet")
    held = jobs.out / "_held/month=2013-04.json"
    held.parent.mkdir()
    held.write_text("{}")
    found = as_json(jobs, capsys, "run", "sample", "2013-04", "--only-missing")
    assert found == []
    assert held.exists()
