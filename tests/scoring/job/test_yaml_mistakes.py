"""A mistake of YAML is reported at the line where it begins, with a remedy, wherever the parser
noticed it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scoring.errors import JobError
from scoring.job.loader import load_job

TEXT = """\
name: sample
schedule: "0 3 2 * *"
start: 2013-02
source:
  uri: "{data}/{partition}.parquet"
row_id: [id]
inputs:
  x: {type: float64}
  y: {type: string, allowed: [a, b]}
model:
  versions:
    - version: v1
      uri: "{models}/v1.skops"
      in_force_from: 2013-02
destination: {uri: "{data}/out"}
"""


def reported(folder: Path, old: str, new: str) -> str:
    """What is said of TEXT with ``old`` replaced by ``new``, without the file's name."""
    assert old in TEXT
    path = folder / "sample.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(JobError) as error:
        load_job(path)
    return str(error.value).removeprefix(f"{path}, ")


CASES = [
    # Quotes that are not closed.
    ('* *"', "* *", 2, 'the quote (") that begins here ends in line 5; close it'),
    ('tion}.parquet"', "tion}.parquet", 5, 'the quote (") that begins here ends in line 13'),
    ('v1.skops"', "v1.skops", 13, 'the quote (") that begins here ends in line 15'),
    ('out"}', "out}", 15, 'the quote (") that begins here is not closed'),
    ("name: sample", "name: 'sample", 1, "the quote (') that begins here is not closed"),
    ("start", "description: 'it's one'\nstart", 3, "text after a closing quote"),
    ("sample", '"sample" job', 1, "text after a closing quote; put the whole value in quotes"),
    # Tabs and indentation.
    ("  uri", "\turi", 5, "it begins with a tab; indent it with spaces"),
    ("  x:", "\tx:", 8, "it begins with a tab"),
    ("start", "\tstart", 3, "it begins with a tab"),
    ("- version", "-\tversion", 12, "it begins with a tab"),
    ("row_id", "- row_id", 6, "a dash begins an entry of a list, and here is a section with keys"),
    ("row_id", " row_id", 6, "it is indented by 1, and that fits none of the keys above"),
    ("  y:", "   y:", 9, "it is indented by 3"),
    ("  y:", " y:", 9, "it is indented by 1"),
    ("schedule", "  schedule", 2, "it is indented deeper than the line above"),
    ("      in_force_from", "       in_force_from", 14, "it is indented"),
    # Brackets.
    ("[id]", "[id", 6, "the [ that begins here is not closed; add ]"),
    ("float64}", "float64", 8, "the { that begins here is not closed; add }"),
    ("[a, b]", "[a, b", 9, "the [ that begins here is closed by }, and ] is needed"),
    ('out"}', 'out"', 15, "the { that begins here is not closed; add }"),
    ("[id]", "[id}", 6, "the [ that begins here is closed by }, and ] is needed"),
    ("[id]", "[id]]", 6, "a ] that nothing opens"),
    ("float64}", "float64}}", 8, "a } that nothing opens"),
    ("string, allowed", "string allowed", 9, "a comma is missing"),
    ("[id]", "[\n  id,\n  'a b'\n  c,\n  d\n]", 8, "a comma is missing"),
    # Colons.
    ("name: ", "name:", 1, "a space is missing after the colon: `name: sample`"),
    ("start: ", "start:", 3, "a space is missing after the colon: `start: 2013-02`"),
    ("schedule: ", "schedule:", 2, "a space is missing after the colon: `schedule: "),
    ("row_id: ", "row_id:", 6, "a space is missing after the colon: `row_id: [id]`"),
    ("destination: ", "destination:", 15, "a space is missing after the colon: `destination: {uri:"),
    ("version: v1", "version:v1", 12, "a space is missing after the colon: `version: v1`"),
    ("start: 2013", "start 2013", 3, "`start 2013-02` is not `key: value`"),
    ("sample", "a: b", 1, "a colon and a space within a value; put the value in quotes"),
    ("source:\n  uri", "source: uri", 4, "a colon and a space within a value"),
    ('uri: "{data}/{partition}.parquet"', "sql: |\n    SELECT a\nFROM t", 7, "`FROM t` is not"),
    # Values that begin with a character of YAML's own.
    ('"{data}/{p', "{data}/{p", 5, 'a value that begins with { must be in quotes: "{data}/{partit'),
    ('"{data}/out"', "{data}/out", 15, 'must be in quotes: "{data}/out"'),
    ('"{models}/v1.skops"', "{models}/v1.skops", 13, 'must be in quotes: "{models}/v1.skops"'),
    ('"{data}/{p', "{{ ds }}/{p", 5, 'a value that begins with { must be in quotes: "{{ ds }}/'),
    ('"0 3 2 * *"', "@monthly", 2, 'a value that begins with @ must be in quotes: "@monthly"'),
    ('"0 3 2 * *"', "*/15 * * * *", 2, 'must be in quotes: "*/15 * * * *"'),
    ('"0 3 2 * *"', "*  # all", 2, 'a value that begins with * must be in quotes: "*"'),
    ("[a, b]", "[*, b]", 9, 'a value that begins with * must be in quotes: "*"'),
    ("[id]", "[{data}/id]", 6, 'a value that begins with { must be in quotes: "{data}/id"'),
    ("start", "% start", 3, "a line cannot begin with %"),
    ("sample", "*sample", 1, 'a value that begins with * must be in quotes: "*sample"'),
    ("sample", "%Y", 1, 'a value that begins with % must be in quotes: "%Y"'),
    ("sample", "`a`", 1, 'a value that begins with ` must be in quotes: "`a`"'),
    ("sample", "& a", 1, 'a value that begins with & must be in quotes: "& a"'),
    ("start", "description: > 5 a day\nstart", 3, 'must be in quotes: "> 5 a day"'),
    ("sample", "!a b", 1, "YAML tags (!) are not read; put the value in quotes"),
    ("[id]", "- id", 6, "a list in one line is written [a, b]"),
    ("{data}/{partition}", r"C:\data\{partition}", 5, "a backslash in double quotes stands for"),
    # Others.
    ("start", "name: b\nstart", 3, "the key 'name' is given twice, first in line 1"),
    ("  y:", "  x:", 9, "the key 'x' is given twice, first in line 8"),
    ("row_id", "---\nrow_id", 6, "a job file is one document; remove the line ---"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "message"), CASES)
def test_a_mistake_is_reported_where_it_begins(
    tmp_path: Path, old: str, new: str, line: int, message: str
):
    text = reported(tmp_path, old, new)
    assert text.startswith(f"line {line}: ")
    assert message in text


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_are_counted_however_they_end(tmp_path: Path, ending: str):
    path = tmp_path / "sample.yaml"
    path.write_bytes(TEXT.replace("[id]", "[id").replace("\n", ending).encode())
    with pytest.raises(JobError, match=r"line 6: not valid YAML: the \[ that begins here"):
        load_job(path)


def test_a_byte_order_mark_is_not_a_mistake(tmp_path: Path):
    path = tmp_path / "sample.yaml"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_bytes(TEXT.encode(encoding))
        assert load_job(path).job.name == "sample"


def test_a_file_without_a_space_after_any_colon_is_explained(tmp_path: Path):
    path = tmp_path / "sample.yaml"
    path.write_text("name:sample\n")
    with pytest.raises(JobError, match="a space is missing after the colon"):
        load_job(path)
