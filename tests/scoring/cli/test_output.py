"""What people see: tables, in full and as they are, and progress on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scoring
from scoring.cli import output as display
from scoring.destinations.manifest import Manifest
from tests.scoring.factories import Place, rows, run_steps


def lines(printed: str) -> list[str]:
    return [line.rstrip() for line in printed.splitlines()]


def values(printed: str) -> dict[str, str]:
    """The two columns of what ``display.manifest`` prints, without the reasons."""
    pairs = [re.split(r"  +", line, maxsplit=1) for line in lines(printed) if line[:1] != " "]
    return {pair[0]: pair[1] for pair in pairs}


@pytest.fixture
def published(empty: Place) -> Manifest:
    """3,000 rows, y = 2x; two of them without x and one that has an id again."""
    x = [None, None, *(i / 3 for i in range(3, 3001))]
    empty.source(rows(3000, x=x, id=[*range(1, 3000), 5]))
    empty.model()
    return run_steps(empty.run(empty.job(end="2013-03")))


def test_a_manifest_is_shown_with_counts_reasons_and_figures(
    published: Manifest, capsys: pytest.CaptureFixture[str]
):
    display.manifest(published, as_json=False)
    printed = capsys.readouterr().out
    found = values(printed)
    assert found["job"] == "sample"
    assert found["partition"] == "2013-02"
    assert found["model version"] == "v1"
    assert (found["rows in"], found["scored"], found["quarantined"]) == ("3,000", "2,997", "3")
    assert re.search(r"^ +2  missing_value: x$", "\n".join(lines(printed)), re.MULTILINE)
    assert re.search(r"^ +1  duplicate_row_id$", "\n".join(lines(printed)), re.MULTILINE)
    figures = re.fullmatch(
        r"mean (\S+), median about (\S+), std (\S+), from (\S+) to (\S+)", found["y"]
    )
    assert figures is not None
    mean, median, std, smallest, largest = map(float, figures.groups())
    assert mean == pytest.approx(1001, rel=0.01)
    assert median == pytest.approx(1001, rel=0.02)
    assert std == pytest.approx(2998 * 2 / 3 / 12**0.5, rel=0.01)  # evenly spread
    assert (smallest, largest) == (2, 1999)
    assert Path(found["predictions"]).is_file()
    assert Path(found["quarantine"]).is_file()
    assert re.fullmatch(r"[0-9a-f]{64}", found["sha256"])
    assert re.fullmatch(
        r"\d+\.\d\d s of work: extract \d+\.\d\d s, score \d+\.\d\d s, upload .* s", found["took"]
    )


def test_a_manifest_as_json_is_the_file_that_lies_beside_the_data(
    empty: Place, published: Manifest, capsys: pytest.CaptureFixture[str]
):
    display.manifest(published, as_json=True)
    assert capsys.readouterr().out == (empty.out / "_manifests/month=2013-02.json").read_text()


@pytest.mark.usefixtures("single_rows")
def test_classes_are_shown_with_their_counts_and_as_they_are_written(
    empty: Place, capsys: pytest.CaptureFixture[str]
):
    code = "def run(df):\n    return df.assign(y=['[red]late', ':no_entry:', '[red]late'])\n"
    empty.source(rows(3))
    empty.model()
    display.manifest(run_steps(empty.run(empty.job(scorer=empty.scorer(code)))), as_json=False)
    found = values(capsys.readouterr().out)
    assert found["y"] == "[red]late: 2, :no_entry:: 1"
    assert "quarantine" not in found


def test_long_addresses_stay_whole_in_a_pipe(
    published: Manifest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "40")
    uri = f"/data/{'long/' * 50}[a]/predictions.parquet"
    output = published.output.model_copy(update={"uri": uri})
    display.manifest(published.model_copy(update={"output": output}), as_json=False)
    assert values(capsys.readouterr().out)["predictions"] == uri


def test_partitions_are_a_table_with_the_missing_ones_in_it(
    empty: Place, published: Manifest, capsys: pytest.CaptureFixture[str]
):
    job = empty.job(end="2013-04").job
    display.partitions(job, [published], as_json=False)
    head, *body = (re.split(r"  +", line) for line in lines(capsys.readouterr().out))
    assert head == [
        "partition", "state", "model version", "rows in", "scored", "quarantined", "left out", "mean"
    ]  # fmt: skip
    assert body[0][:-1] == ["2013-02", "published", "v1", "3,000", "2,997", "3", "0"]
    assert float(body[0][-1]) == pytest.approx(1001, rel=0.01)
    assert body[1:] == [["2013-03", "missing"], ["2013-04", "missing"]]


def test_without_an_end_partitions_go_up_to_the_last_published_one(
    empty: Place, published: Manifest, capsys: pytest.CaptureFixture[str]
):
    later = published.model_copy(update={"partition": "2013-05"})
    display.partitions(empty.job().job, [published, later], as_json=True)
    found = [(row["partition"], row["state"]) for row in json.loads(capsys.readouterr().out)]
    assert found == [
        ("2013-02", "published"),
        ("2013-03", "missing"),
        ("2013-04", "missing"),
        ("2013-05", "published"),
    ]


def test_where_nothing_is_published_a_sentence_says_so_and_json_is_an_empty_list(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    job = place.job().job
    display.partitions(job, [], as_json=False)
    assert capsys.readouterr().out == "nothing is published for sample yet\n"
    display.partitions(job, [], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_jobs_are_a_table(empty: Place, published: Manifest, capsys: pytest.CaptureFixture[str]):
    file = empty.job()
    display.jobs([(file, [published] * 1234)], as_json=False)
    head, row = (re.split(r"  +", line) for line in lines(capsys.readouterr().out))
    assert head == [
        "job", "partition", "start", "end", "model versions", "published", "file"
    ]  # fmt: skip
    assert row == ["sample", "month", "2013-02", "v1", "1,234", str(file.path)]


def on_a_terminal(*arguments: str) -> str:
    """What ``python -m scoring`` shows on a terminal for stderr."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "scoring", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        cwd=Path(scoring.__file__).parent.parent,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert done.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_a_terminal_shows_progress_up_to_all_rows(empty: Place, published: Manifest):
    command = ["run", str(empty.job().path), "2013-02", "--data", str(empty.data)]
    last = [line for line in re.split(r"[\r\n]+", on_a_terminal(*command)) if "rows" in line][-2:]
    assert re.search(r"sample 2013-02 +read and checked .* 3000/3000 rows", last[0])
    assert re.search(r"sample 2013-02 +scored and joined .* 2997/2997 rows", last[1])


def test_with_json_a_terminal_shows_no_progress(empty: Place, published: Manifest):
    command = ["run", str(empty.job().path), "2013-02", "--data", str(empty.data), "--json"]
    assert on_a_terminal(*command) == ""
