"""Promotion: one value of the job file is replaced, and every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoring.errors import JobError
from scoring.job.promotion import Promotion, promote

FLOW = """\
# Who changes this file tells the analysts.  ✈ naïve café
name: sample   # as the file
schedule: "0 3 2 * *"
start: 2013-02
source: {uri: "{data}/source/{partition}.parquet"}
row_id: [id]
inputs:
    x: {type: float64}    # four spaces, on purpose

model:
  versions:
    - {version: v1, uri: "{models}/v1.skops", in_force_from: 2013-02}  # the first
    - { version: v2 ,uri: "{models}/v2.skops", candidate: true }       # the next?
output: {prediction: y}
destination: {uri: "{data}/out"}
"""
BLOCK = FLOW.replace(
    '    - { version: v2 ,uri: "{models}/v2.skops", candidate: true }       # the next?\n',
    '    -   version: v2\n        candidate: true   # not yet\n        uri: "{models}/v2.skops"\n',
)


def promoted(
    folder: Path, text: str | bytes, version: str = "v2", since: str = "2013-07"
) -> Promotion:
    path = folder / "sample.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = promote(path, version, since)
    assert path.read_bytes() == (text if isinstance(text, bytes) else text.encode())
    return found


@pytest.mark.parametrize("text", [FLOW, BLOCK, FLOW.replace("\n", "\r\n"), "\ufeff" + FLOW])
def test_a_candidate_is_promoted_and_all_else_stays(tmp_path: Path, text: str):
    found = promoted(tmp_path, text)
    assert found.data.decode() == text.replace("candidate: true", "in_force_from: 2013-07")
    assert found.moved_from is None
    job = found.after.job
    in_force = [
        job.version_for(job.parse(key)).version for key in ("2013-06", "2013-07", "2013-12")
    ]
    assert in_force == ["v1", "v2", "v2"]
    changed = [line for line in found.diff.splitlines() if line[0] in "+-"][2:]
    assert len(changed) == 2


def test_a_file_in_utf_16_stays_one(tmp_path: Path):
    data = FLOW.encode("utf-16")
    found = promoted(tmp_path, data)
    assert found.data[:2] == data[:2]
    assert found.data.decode("utf-16") == FLOW.replace("candidate: true", "in_force_from: 2013-07")


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_the_date_of_a_version_in_force_is_moved(tmp_path: Path, quote: str):
    text = FLOW.replace("candidate: true", f"in_force_from: {quote}2013-09{quote}")
    found = promoted(tmp_path, text)
    assert found.data.decode() == text.replace("2013-09", "2013-07")
    assert found.moved_from == "2013-09"


@pytest.mark.parametrize(
    ("text", "version", "since", "says"),
    [
        (FLOW, "v9", "2013-07", "no model version 'v9'; it has v1, v2"),
        (FLOW, "v2", "2013-13", "--from: .*2013-13"),
        (FLOW, "v2", "2013-02", "v1 is in force from 2013-02 on already"),
        (
            FLOW.replace("name: sample", "name: other"),
            "v2",
            "2013-07",
            "differs from the file name",
        ),
        (
            FLOW.replace("model:\n", "model:\n  policy: current\n"),
            "v2",
            "2013-01",
            "v1, in force from 2013-02, stays the newest version",
        ),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, text: str, version: str, since: str, says: str):
    with pytest.raises(JobError, match=says):
        promoted(tmp_path, text, version, since)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("candidate: true }", "candidate: &flag true }"),  # an anchor that something else may use
        ("candidate: true }", "candidate: !!bool true }"),
        ("candidate: true }", "in_force_from: &since 2013-09 }"),
        ("candidate: true }", "in_force_from: !!str 2013-09 }"),
    ],
)
def test_what_more_stands_there_is_not_removed(tmp_path: Path, before: str, after: str):
    with pytest.raises(
        JobError, match=r"line 13, .*cannot be edited without touching something else"
    ):
        promoted(tmp_path, FLOW.replace(before, after))


@pytest.mark.parametrize(
    "date",
    ["candidate:  # until Anna has signed\n          true", "in_force_from: |-\n          2013-09"],
)
def test_a_comment_or_a_block_within_the_value_is_not_removed(tmp_path: Path, date: str):
    text = BLOCK.replace("candidate: true   # not yet", date)
    with pytest.raises(JobError, match=r"Write in_force_from: 2013-07 there by hand"):
        promoted(tmp_path, text)


def test_a_version_that_others_share_is_not_edited(tmp_path: Path):
    """The text stands at v2, and v3 has it too: what is edited there changes both."""
    text = FLOW.replace(
        '    - { version: v2 ,uri: "{models}/v2.skops", candidate: true }       # the next?\n',
        '    - &next {version: v2, uri: "{models}/v2.skops", candidate: true}\n'
        "    - {<<: *next, version: v3}\n",
    )
    with pytest.raises(JobError, match="cannot be edited without"):
        promoted(tmp_path, text)
    with pytest.raises(JobError, match="cannot be edited without"):
        promoted(tmp_path, text, "v3")
