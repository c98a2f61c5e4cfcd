"""What a job file may say of its actuals, and what is wrong with the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scoring.cli.main import main
from scoring.errors import JobError
from scoring.job.meaning import meaning_sha256
from tests.scoring.factories import Place

SOURCE = {"uri": "{data}/truth/{partition}.parquet"}
SAME_FILES = {"uri": "{data}/source/{partition}.parquet"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actuals": {"column": "t"}}, r"actuals\.source: missing"),
        ({"actuals": {"source": {}, "column": "t"}}, r"actuals\.source: requires uri"),
        ({"actuals": {"source": SOURCE}}, r"actuals\.column: missing"),
        (
            {"actuals": {"source": {"sql": "SELECT 1 ORDER BY 1"}, "column": "t"}},
            r"actuals\.source\.conn_id: missing",
        ),
        (
            {"actuals": {"source": {**SOURCE, "wait": {}}, "column": "t"}},
            r"actuals\.source\.wait: is not for actuals",
        ),
        (
            {"actuals": {"source": SOURCE, "column": "t", "row_id": ["a", "b"]}},
            r"actuals\.row_id: has 2 columns, and the job's row_id 1 \(id\)",
        ),
        (
            {
                "row_id": ["id", "x"],
                "actuals": {"source": SOURCE, "column": "t", "row_id": ["a", "a"]},
            },
            r"actuals\.row_id: 'a' is listed twice",
        ),
        (
            {"actuals": {"source": SOURCE, "column": "id"}},
            r"actuals\.column: 'id' identifies the row",
        ),
        (
            {"row_id": "row_number", "actuals": {"source": SOURCE, "column": "t"}},
            r"actuals\.source: with row_id: row_number, .* in the same files",
        ),
        (
            {
                "row_id": "row_number",
                "actuals": {"source": SAME_FILES, "column": "t", "row_id": ["id"]},
            },
            r"actuals\.row_id: not with row_id: row_number",
        ),
        (
            {
                "output": {"prediction": "y", "probabilities": {"p": 1}},
                "actuals": {"source": SOURCE, "column": "t", "task": "regression"},
            },
            r"actuals\.task: the job has output\.probabilities",
        ),
        (
            {"actuals": {"source": SOURCE, "column": "t", "schedule": "every day"}},
            r"actuals\.schedule",
        ),
        ({"actuals": {"source": SOURCE, "column": "__row__"}}, r"actuals\.column: .* reserved"),
    ],
)
def test_a_mistake_names_its_field(empty: Place, changes: dict[str, Any], message: str):
    with pytest.raises(JobError, match=message):
        empty.job(**changes)


def test_it_changes_no_prediction(empty: Place):
    without = empty.job()
    given = empty.job(actuals={"source": SOURCE, "column": "t"})
    assert meaning_sha256(given.job, "v1") == meaning_sha256(without.job, "v1")


def test_check_reads_its_expressions(empty: Place, capsys: pytest.CaptureFixture[str]):
    source = {**SOURCE, "derive": {"t": "median(seconds)"}}
    path: Path = empty.job(actuals={"source": source, "column": "t"}).path
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    line = path.read_text().splitlines().index("      t: median(seconds)") + 1
    assert f"line {line}, actuals.source.derive.t: " in said
