"""The shell command: what it prints, where, and its exit statuses."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import scoring
from scoring.cli.main import COMMANDS as MODULES
from scoring.cli.main import main
from tests.scoring.factories import JOB, MONTH, Place, linear, merged, rows, run_steps

COMMANDS = ("run", "verify", "check", "list", "show")
VERSIONS = [
    {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
    {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-04"},
]


@pytest.fixture
def jobs(place: Place) -> Place:
    """The sample job (2013-02 to 2013-04) with two model versions, and ten rows for February."""
    place.model(linear(3.0), "v2.skops")
    place.job(model={"versions": VERSIONS}, end="2013-04")
    return place


def shell(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """``python -m scoring`` in a process of its own."""
    command = [sys.executable, "-m", "scoring", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run(command, cwd=Path(scoring.__file__).parent.parent, **options)


def in_folder(place: Place) -> list[str]:
    return ["--jobs", str(place.folder), "--data", str(place.data)]


def one_error(printed: str) -> str:
    """The message in what was printed on stderr, which must be that alone."""
    assert printed.startswith("error: ")
    assert printed.endswith("\n")
    assert "Traceback" not in printed
    assert printed.count("error: ") == 1
    return printed.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize("command", MODULES)
def test_every_command_prints_json_for_machines(command: str):
    module, parser = MODULES[command], argparse.ArgumentParser()
    module.add_arguments(parser)
    (option,) = [a for a in parser._actions if "--json" in a.option_strings]
    assert option.default is False


def test_run_prints_the_manifest_and_nothing_else_with_json(jobs: Place):
    done = shell("run", "sample", MONTH, *in_folder(jobs), "--json", "--workers", "1")
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads(done.stdout)
    rows = manifest["rows"]
    assert (rows["in"], rows["scored"], rows["quarantined"], rows["left_out"]) == (10, 10, 0, 0)
    assert manifest["model"]["version"] == "v1"
    assert manifest["run"] == {"by": "shell"}
    assert done.stdout == (jobs.out / "_manifests" / "month=2013-02.json").read_text()


def test_without_a_terminal_there_is_no_progress_bar(jobs: Place):
    done = shell("run", "sample", MONTH, *in_folder(jobs), "--workers", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout


def test_an_error_of_a_real_command_is_one_message_on_stderr(jobs: Place):
    done = shell("run", "sample", "2013-03", *in_folder(jobs), "--json")
    assert (done.returncode, done.stdout) == (3, "")
    message = one_error(done.stderr)
    assert f"{jobs.data}/source/2013-03.parquet" in message
    assert message.count("othing was published") == 1


def test_a_reader_that_goes_away_is_not_an_error(jobs: Place):
    reader, writer = os.pipe()
    os.close(reader)
    done = shell("list", *in_folder(jobs), "--json", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_each_command_and_each_option_is_for(
    command: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    output = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"usage: scoring {command}" in output
    assert "--jobs DIR" in output
    assert "$SCORING_JOBS" in output
    assert "--json" in output
    assert "$SCORING_DATA" in " ".join(output.split())
    assert "exit status:" in output


def test_help_names_all_commands(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    output = capsys.readouterr().out
    assert ended.value.code == 0
    for command in COMMANDS:
        assert f"\n    {command} " in output
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"{scoring.__version__}\n"


def test_statuses_in_the_help_are_those_of_the_errors(capsys: pytest.CaptureFixture[str]):
    from scoring import errors

    with pytest.raises(SystemExit):
        main(["run", "--help"])
    output = capsys.readouterr().out.partition("exit status:")[2].split()
    numbers = {int(word) for word in output if word.isdigit()}
    kinds = [k for k in vars(errors).values() if hasattr(k, "exit_status")]
    interrupted = 130
    assert numbers == {0, interrupted} | {kind.exit_status for kind in kinds}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "required: COMMAND"),
        (["score"], "invalid choice: 'score'"),
        (["run", "sample"], "required: partition"),
        (["run", "sample", MONTH, "--workers", "0"], "'0' is not a positive integer"),
        (["run", "sample", MONTH, "--workers", "two"], "'two' is not a positive integer"),
        (["show", "sample", MONTH, "--workers", "1"], "unrecognized arguments: --workers"),
    ],
)
def test_wrong_usage_has_status_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert expected in printed.err


def source_missing(place: Place) -> None:
    (place.data / "source" / f"{MONTH}.parquet").unlink()


def source_cut_off(place: Place) -> None:
    path = place.data / "source" / f"{MONTH}.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def contract_broken(place: Place) -> None:
    place.source(rows(10, x=[None] * 4 + [1.0] * 6))
    place.job(checks={"max_quarantined_fraction": 0.1})


def model_replaced(place: Place) -> None:
    place.job(model={"versions": [{**VERSIONS[0], "sha256": "0" * 64}]})


def scorer_fails(place: Place) -> None:
    place.job(scorer=place.scorer("def run(df):\n    raise KeyError('delay')"))


def destination_is_a_file(place: Place) -> None:
    place.out.write_text("")


def job_broken(place: Place) -> None:
    path = place.folder / "sample.yaml"
    path.write_text(path.read_text().replace("row_id:", "row_ids:"))


FAILURES: dict[Callable[[Place], None], tuple[int, str]] = {
    job_broken: (2, "did you mean 'row_id'?"),
    source_missing: (3, f"{MONTH}.parquet"),
    source_cut_off: (3, f"{MONTH}.parquet cannot be read"),
    contract_broken: (4, "4 of 10 rows (40.00%) break the contract"),
    model_replaced: (5, "is not the file that sample pins as v1"),
    scorer_fails: (6, "KeyError: 'delay'"),
    destination_is_a_file: (7, "cannot be written"),
}


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.__name__)
@pytest.mark.parametrize("json_wanted", [[], ["--json"]], ids=["text", "json"])
def test_each_kind_of_error_has_its_status_and_one_message(
    jobs: Place,
    failure: Callable[[Place], None],
    json_wanted: list[str],
    capsys: pytest.CaptureFixture[str],
):
    failure(jobs)
    status, message = FAILURES[failure]
    found = main(["run", "sample", MONTH, *in_folder(jobs), "--workers", "1", *json_wanted])
    printed = capsys.readouterr()
    assert (found, printed.out) == (status, "")
    assert message in one_error(printed.err)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "sample", "2013-05"], "sample has no partition 2013-05"),
        (["run", "sample", "2013-1"], "'2013-1' is not a month"),
        (["show", "sample", "2013-01"], "from 2013-02 to 2013-04"),
        (["verify", "sample", "may"], "'may' is not a month"),
        (["run", "simple", MONTH], "there is no job 'simple'"),
        (["show", "simple"], "jobs there: sample"),
        (["check", "sample", "simple"], "jobs there: sample"),
        (["show", "no/such/file.yaml"], "no/such/file.yaml cannot be read: No such file"),
    ],
)
def test_a_partition_or_job_that_is_not_there_has_status_2(
    jobs: Place, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
):
    where = in_folder(jobs)[:2] if arguments[0] == "check" else in_folder(jobs)
    assert main([*arguments, *where]) == 2
    assert expected in one_error(capsys.readouterr().err)


def test_an_unknown_version_has_status_5_and_names_those_that_are_known(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    assert main(["run", "sample", MONTH, *in_folder(jobs), "--model-version", "v9"]) == 5
    assert "it has v1, v2" in one_error(capsys.readouterr().err)


def test_a_version_can_be_pinned(jobs: Place, capsys: pytest.CaptureFixture[str]):
    options = ["--workers", "1", "--json"]
    assert main(["run", "sample", MONTH, *in_folder(jobs), *options]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["y"]["max"] == pytest.approx(20)
    pinned = ["--model-version", "v2"]
    assert main(["run", "sample", MONTH, *in_folder(jobs), *options, *pinned]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["model"]["version"] == "v2"
    assert manifest["statistics"]["y"]["max"] == pytest.approx(30)


def test_verify_says_same_or_has_status_8(jobs: Place, capsys: pytest.CaptureFixture[str]):
    command = ["verify", "sample", MONTH, *in_folder(jobs), "--workers", "1"]
    assert main(command) == 8
    assert "nothing is published for sample 2013-02" in one_error(capsys.readouterr().err)
    published = run_steps(jobs.run(jobs.job(model={"versions": VERSIONS}, end="2013-04")))
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "sample 2013-02: scored again with model version v1, the same" in text
    assert published.output.sha256 in text
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "job": "sample",
        "partition": MONTH,
        "same": True,
        "sha256": published.output.sha256,
    }
    jobs.source(rows(10, x=[float(i) for i in range(10)]))
    assert main([*command, "--json"]) == 8
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "the source" in one_error(printed.err)


def test_a_range_is_scored_partition_by_partition(jobs: Place, capsys: pytest.CaptureFixture[str]):
    jobs.source(rows(20), "2013-04.parquet")
    command = ["run", "sample", "2013-02..2013-04", *in_folder(jobs), "--workers", "1"]
    assert main([*command, "--json"]) == 3  # March's source is not there, and April goes on
    printed = capsys.readouterr()
    february, march, april = json.loads(printed.out)
    assert (february["state"], february["scored"]) == ("published", 10)
    assert march["state"] == "failed"
    assert "the source of sample 2013-03 is not there" in march["error"]
    assert (april["state"], april["scored"]) == ("published", 20)
    assert "Nothing was published for sample 2013-03." in printed.err
    assert "2013-04: 20 rows published" in printed.err
    before = published_files(jobs)
    jobs.source(rows(5), "2013-03.parquet")
    assert main([*command, "--only-missing"]) == 0
    table = capsys.readouterr().out
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["2013-02", "published", "before"],
        ["2013-03", "published", "v1"],
        ["2013-04", "published", "before"],
    ]
    after = published_files(jobs)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {
        "_index.json",
        "_manifests/month=2013-03.json",
        "month=2013-03/predictions.parquet",
    }


def published_files(place: Place) -> dict[str, int]:
    """The published files, each with the moment at which it was written."""
    names = [name for name in place.files() if not name.startswith(("_locks", "_columns"))]
    return {name: (place.out / name).stat().st_mtime_ns for name in names}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("2013-04..2013-02", "'2013-04..2013-02' ends before it begins; write 2013-02..2013-04"),
        ("2013-02..", "'' is not a month"),
        ("2012-11..2013-02", "has no partition 2012-11"),
    ],
)
def test_a_range_that_cannot_be_is_refused(
    jobs: Place, capsys: pytest.CaptureFixture[str], wanted: str, message: str
):
    assert main(["run", "sample", wanted, *in_folder(jobs)]) == 2
    assert message in capsys.readouterr().err
    assert jobs.files() == []


def test_what_another_job_has_published_is_not_replaced(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    published = run_steps(jobs.run(jobs.job(model={"versions": VERSIONS}, end="2013-04")))
    before = {name: (jobs.out / name).read_bytes() for name in jobs.files()}
    jobs.source(rows(10), "2013-03.parquet")
    renamed = merged(JOB, {"name": "renamed"})
    path = jobs.folder / "renamed.yaml"
    path.write_text(yaml.safe_dump(renamed))
    options = [*in_folder(jobs), "--workers", "1", "--json"]
    for month in (MONTH, "2013-03"):
        for force in ([], ["--force"]):
            assert main(["run", "renamed", month, *options, *force]) == 7
            text = one_error(capsys.readouterr().err)
            assert (
                f"renamed publishes to {jobs.out}, and what is published there is the job sample's"
                in text
            )
            assert "destination: {former_names: [sample]}" in text
    assert {name: (jobs.out / name).read_bytes() for name in jobs.files()} == before
    assert main(["verify", "renamed", MONTH, *options]) == 8
    text = one_error(capsys.readouterr().err)
    assert (
        f"what is published for 2013-02 under {jobs.out} is the job sample's, not renamed's" in text
    )
    assert main(["show", "renamed", MONTH, *in_folder(jobs), "--json"]) == 1
    assert "is the job sample's, not renamed's" in one_error(capsys.readouterr().err)
    assert main(["show", "renamed", *in_folder(jobs), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "[]\n"
    assert printed.err.startswith(
        f"warning: 1 of the partitions under {jobs.out} are published by sample"
    )
    assert main(["list", *in_folder(jobs), "--json"]) == 0
    counts = {job["job"]: job["published"] for job in json.loads(capsys.readouterr().out)}
    assert counts == {"renamed": 0, "sample": 1}

    renamed["destination"]["former_names"] = ["sample"]
    path.write_text(yaml.safe_dump(renamed))
    assert main(["verify", "renamed", MONTH, *options]) == 0
    assert main(["run", "renamed", "2013-03", *options]) == 0
    assert main(["run", "renamed", MONTH, *options]) == 0
    capsys.readouterr()
    manifest = json.loads((jobs.out / "_manifests" / "month=2013-02.json").read_text())
    assert (manifest["job"], manifest["output"]["sha256"]) == ("renamed", published.output.sha256)


def test_the_folders_come_from_the_environment_too(
    jobs: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SCORING_JOBS", str(jobs.folder))
    monkeypatch.setenv("SCORING_DATA", str(jobs.data))
    assert main(["run", "sample", MONTH, "--workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"]["uri"].startswith(f"{jobs.out}/")
    assert main(["show", "sample", "--data", str(jobs.folder / "elsewhere"), "--json"]) == 0
    states = {row["state"] for row in json.loads(capsys.readouterr().out)}
    assert states == {"missing"}


def test_a_job_can_be_given_as_a_path(
    jobs: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(jobs.folder)
    where = ["--data", "data", "--jobs", "nowhere"]
    assert main(["run", "sample.yaml", MONTH, *where, "--workers", "1", "--json"]) == 0
    uri = json.loads(capsys.readouterr().out)["output"]["uri"]
    assert uri == f"{jobs.out}/month=2013-02/predictions.parquet"
    assert Path(uri).is_file()


def test_check_names_every_file_and_every_mistake(jobs: Place, capsys: pytest.CaptureFixture[str]):
    def write(name: str, **changes: Any) -> Path:
        path = jobs.folder / f"{name}.yaml"
        own = {"name": name, "destination": {"uri": f"{{data}}/{name}"}}
        path.write_text(yaml.safe_dump(merged(JOB, own | changes)))
        return path

    write("other")
    wrong = write("wrong", timezone="Mars/Olympus")
    assert main(["check", "--jobs", str(jobs.folder)]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"ok: {jobs.folder}/other.yaml is the job other",
        f"ok: {jobs.folder}/sample.yaml is the job sample",
    ]
    assert f"{wrong} is not a valid job file (1 problem)" in one_error(printed.err)
    assert "Mars/Olympus" in printed.err
    assert main(["check", "other", str(jobs.folder / "sample.yaml"), *in_folder(jobs)[:2]]) == 0
    assert capsys.readouterr().err == ""


def test_check_names_jobs_that_publish_to_one_place(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    other = jobs.folder / "other.yaml"
    values = merged(JOB, {"name": "other", "destination": {"uri": "{data}/out/"}})
    other.write_text(yaml.safe_dump(values))
    (jobs.folder / "broken.yaml").write_text("name: broken\n")
    for names in (["other"], ["sample"], [str(other)], ["sample", "other"]):
        assert main(["check", *names, "--jobs", str(jobs.folder)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        for name, another in {"other": "sample", "sample": "other"}.items():
            text = f"destination.uri: overlaps with the destination of the job {another} ({another}.yaml), {{data}}/out"
            assert (text in printed.err) == (name in [Path(n).stem for n in names])
        assert "broken" not in printed.err
    other.write_text(yaml.safe_dump(values | {"destination": {"uri": "{data}/out2"}}))
    assert main(["check", "other", "sample", "--jobs", str(jobs.folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_one_file_for_all_months_is_refused_by_check_and_warned_of_by_run(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    place.job(source={"uri": "{data}/source/2013-02.parquet"})
    where = in_folder(place)
    assert main(["check", *where[:2]]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "line 5, source.uri: is the same for every month; add" in one_error(printed.err)
    assert main(["run", "sample", MONTH, *where, "--workers", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(
        f"warning: {place.folder}/sample.yaml, line 5, source.uri: is the"
    )
    assert json.loads(printed.out)["rows"]["scored"] == 10
    place.job(source={"uri": "{data}/source/2013-02.parquet"}, end=MONTH)
    assert main(["check", *where[:2]]) == 0
    assert main(["run", "sample", MONTH, *where, "--workers", "1", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_a_folder_without_job_files_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for command in ("check", "list"):
        assert main([command, "--jobs", str(tmp_path)]) == 2
        message = one_error(capsys.readouterr().err)
        assert message == (
            f"there is no job file (*.yaml) in {tmp_path}; --jobs names another folder"
        )


def test_list_counts_what_is_published(jobs: Place, capsys: pytest.CaptureFixture[str]):
    assert main(["list", *in_folder(jobs), "--json"]) == 0
    (before,) = json.loads(capsys.readouterr().out)
    run_steps(jobs.run(jobs.job(model={"versions": VERSIONS}, end="2013-04")))
    assert main(["list", *in_folder(jobs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "job": "sample",
            "partition": "month",
            "start": "2013-02",
            "end": "2013-04",
            "model_versions": ["v1", "v2"],
            "published": 1,
            "file": str(jobs.folder / "sample.yaml"),
        }
    ]
    assert before["published"] == 0


def test_a_wrong_job_file_does_not_keep_the_others_from_being_listed(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    (jobs.folder / "broken.yaml").write_text("name: broken\n")
    assert main(["list", *in_folder(jobs), "--json"]) == 2
    printed = capsys.readouterr()
    assert "broken.yaml is not a valid job file" in printed.err
    assert [job["job"] for job in json.loads(printed.out)] == ["sample"]


def test_show_lists_all_partitions_or_shows_one(jobs: Place, capsys: pytest.CaptureFixture[str]):
    jobs.source(rows(20, x=[None, *map(float, range(2, 21))]), "2013-03.parquet")
    job = jobs.job(model={"versions": VERSIONS}, end="2013-04")
    published = run_steps(jobs.run(job, "2013-03"))
    assert main(["show", "sample", *in_folder(jobs), "--json"]) == 0
    february, march, april = json.loads(capsys.readouterr().out)
    assert february == {"partition": "2013-02", "state": "missing"}
    assert april == {"partition": "2013-04", "state": "missing"}
    assert march.pop("mean") == pytest.approx(22)  # twice the mean of 2 to 20
    assert march == {
        "partition": "2013-03",
        "state": "published",
        "model_version": "v1",
        "rows_in": 20,
        "scored": 19,
        "quarantined": 1,
        "left_out": 0,
    }
    assert main(["show", "sample", "2013-03", *in_folder(jobs), "--json"]) == 0
    assert capsys.readouterr().out == published.to_json()
    for options in ([], ["--json"]):
        assert main(["show", "sample", "2013-02", *in_folder(jobs), *options]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        message = one_error(printed.err)
        assert f"nothing is published for sample 2013-02 under {jobs.out}" in message
        assert "`scoring run sample 2013-02` scores it" in message


def test_a_data_folder_with_odd_characters_is_taken_as_it_is(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    odd = jobs.data.rename(jobs.folder / "a [b] *c")
    where = ["--jobs", str(jobs.folder), "--data", str(odd)]
    assert main(["run", "sample", MONTH, *where, "--workers", "1"]) == 0
    assert f"{odd}/out/month=2013-02/predictions.parquet" in capsys.readouterr().out
    assert main(["show", "sample", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "published"
    assert main(["list", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["published"] == 1


def test_a_run_that_is_interrupted_has_status_130_and_says_so(
    jobs: Place, capsys: pytest.CaptureFixture[str]
):
    # Its usual effect, also where the tests run in the background; signals_as_before puts it back.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    jobs.job(scorer=jobs.scorer(code))
    assert main(["run", "sample", MONTH, *in_folder(jobs)]) == 130
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (
        "",
        "interrupted; a partition is published as a whole or not at all\n",
    )
    assert jobs.files() == []


def test_run_does_not_wait_for_a_late_source_and_says_who_does(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    place.job(source={"wait": {"timeout_hours": 1}})
    assert main(["run", "sample", "2013-03", *in_folder(place)]) == 3
    output = one_error(capsys.readouterr().err)
    assert "the source of sample 2013-03 is not there" in output
    assert output.endswith(
        "In Airflow this job waits for its source (source.wait); this command does not."
    )
