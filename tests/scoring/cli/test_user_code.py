"""Errors in the code of a model or scorer: what the shell shows of them, and which modules they
find.
"""

from __future__ import annotations

import hashlib

import pytest

from scoring.cli.main import main
from tests.scoring.factories import MONTH, Place, rows

BROKEN = """\
import helper_of_the_scorer


def run(df, model):
    return helper_of_the_scorer.doubled(df)
"""
HELPER = """\
def doubled(df):
    return df.assign(y=2 * df["nosuch"])[["y"]]
"""


def run(place: Place, *options: str) -> int:
    job = place.job(scorer=place.scorer(BROKEN))
    return main(["run", str(job.path), MONTH, "--data", str(place.data), *options])


@pytest.fixture
def with_helper(place: Place) -> Place:
    (place.folder / "helper_of_the_scorer.py").write_text(HELPER)
    place.source(rows(3))
    return place


def test_the_users_own_lines_are_shown_and_no_traceback_first(
    with_helper: Place, capsys: pytest.CaptureFixture[str]
):
    assert run(with_helper) == 6
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "error: sample 2013-02, rows 1 to 3: predicting failed with KeyError: 'nosuch'"
    )
    code = [line.strip() for line in lines if not {*line.strip()} <= {"^", "~"}]  # 3.11 underlines
    assert code == [
        f'File "{with_helper.folder}/scorer.py", line 5, in run',
        "return helper_of_the_scorer.doubled(df)",
        f'File "{with_helper.folder}/helper_of_the_scorer.py", line 2, in doubled',
        'return df.assign(y=2 * df["nosuch"])[["y"]]',
        "Nothing was published for sample 2013-02.",
    ]


def test_verbose_shows_the_whole_traceback(with_helper: Place, capsys: pytest.CaptureFixture[str]):
    assert run(with_helper, "--verbose") == 6
    output = capsys.readouterr().err
    assert output.startswith("error: sample 2013-02, rows 1 to 3: predicting failed with KeyError")
    assert "Traceback (most recent call last):" in output
    assert "site-packages/pandas" in output
    assert output.rstrip().endswith("KeyError: 'nosuch'\nNothing was published for sample 2013-02.")


def test_a_scorer_that_cannot_be_imported_shows_its_line(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    job = place.job(scorer=place.scorer("x = 1\ny = 1 / 0\n"))
    assert main(["run", str(job.path), MONTH, "--data", str(place.data)]) == 6
    output = capsys.readouterr().err
    assert "scorer.py cannot be imported: ZeroDivisionError: division by zero" in output
    assert f'File "{place.folder}/scorer.py", line 2, in <module>' in output


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys\nsys.exit()\ndef run(df, model): ...\n", "cannot be imported: SystemExit"),
        ("import sys\ndef run(df, model):\n    sys.exit(0)\n", "predicting failed with SystemExit"),
        ("def run(df, model):\n    exit()\n", "predicting failed with SystemExit"),
    ],
)
@pytest.mark.parametrize("command", [["run"], ["check", "--deep"], ["try"]])
def test_code_that_ends_the_process_is_an_error(
    place: Place, capsys: pytest.CaptureFixture[str], code: str, says: str, command: list[str]
):
    """Status 0 would say that the month is published."""
    job = place.job(scorer=place.scorer(code))
    assert main([*command, str(job.path), MONTH, "--data", str(place.data)]) == 6
    assert says in capsys.readouterr().err


def test_a_pickle_that_ends_the_process_is_an_error(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    path = place.data / "models" / "v1.pkl"
    path.write_bytes(b"csys\nexit\n(I0\ntR.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    version = {"version": "v1", "uri": "{models}/v1.pkl", "in_force_from": "2013-02"}
    job = place.job(model={"versions": [version | {"sha256": digest, "format": "joblib"}]})
    assert main(["run", str(job.path), MONTH, "--data", str(place.data)]) == 5
    assert "SystemExit" in capsys.readouterr().err
