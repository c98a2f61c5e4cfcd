"""A notebook as scorer: its code without the cells tagged skip, its digest, its errors."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scoring.cli.main import main
from scoring.errors import MissingPackageError, ScorerError
from scoring.models.user_scorer import read_scorer
from scoring.monitoring.coverage import coverage
from scoring.pipeline.verify import verify_partition
from scoring.storage.connections import Connections
from tests.scoring.factories import MONTH, Place, predictions, run_steps
from tests.scoring.notebooks import code, text, write_notebook

RUN = "def run(df, model):\n    return df.assign(y=factor * model.predict(df))[['y']]"
CELLS = (
    text("# Rides"),
    code("%matplotlib inline\nimport matplotlib.pyplot as plt", "skip"),
    code("factor = 3"),
    code("raise RuntimeError('training again')", "skip", "slow"),
    code(RUN),
)


def notebook(place: Place, *cells: Any, **options: Any) -> str:
    return write_notebook(place.folder / "score.ipynb", *(cells or CELLS), **options)


def test_cells_are_run_in_order_but_for_those_tagged_skip(place: Place):
    run = place.run(place.job(scorer=notebook(place)))
    manifest = run_steps(run)
    assert predictions(manifest)["y"].to_pylist() == pytest.approx([6.0 * i for i in range(1, 11)])
    assert manifest.scorer_sha256 == hashlib.sha256(f"factor = 3\n\n{RUN}".encode()).hexdigest()
    assert verify_partition(run, workers=1) == manifest


def test_a_job_needs_no_model_beside_a_notebook(place: Place):
    alone = notebook(place, code("def run(df):\n    return (df.x + 1).to_frame('y')"))
    manifest = run_steps(place.run(place.job(scorer=alone, model=None)))
    assert manifest.model.version.startswith("scorer-")
    assert predictions(manifest)["y"].to_pylist()[:2] == [2.0, 3.0]


def state(place: Place, job: Any) -> Any:
    (found,) = coverage(job, job.roots(str(place.data)), Connections(), [job.job.parse(MONTH)])
    return found


def test_only_the_code_that_is_run_makes_a_month_stale(place: Place):
    job = place.job(scorer=notebook(place), end=MONTH)
    run_steps(place.run(job))
    assert state(place, job).state == "published"
    before = (place.folder / "score.ipynb").read_bytes()
    notebook(place, *CELLS[:2], text("more words"), code("1 / 0", "skip"), *CELLS[2:], runs=7)
    assert (place.folder / "score.ipynb").read_bytes() != before
    assert state(place, job).state == "published"
    notebook(place, *CELLS[:2], code("factor = 4"), *CELLS[3:])
    found = state(place, job)
    assert [reason.detail for reason in found.reasons] == ["the scorer has changed"]


def test_what_is_not_a_notebook_any_more_cannot_be_compared(place: Place):
    job = place.job(scorer=notebook(place), end=MONTH)
    run_steps(place.run(job))
    (place.folder / "score.ipynb").write_text("{")
    assert "is not a notebook" in " ".join(state(place, job).unchecked)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("%matplotlib inline", "%matplotlib inline"),
        ("x = 1\n%%time", "%%time"),
        ("!pip install rides", "!pip install rides"),
        ("files = !ls", "files = !ls"),
        ("df.head?", "df.head?"),
        ("?print", "?print"),
    ],
)
def test_magics_are_refused_with_the_cell_and_the_advice(place: Place, line: str, shown: str):
    name = notebook(place, text("words"), code("factor = 3"), code(line), code(RUN))
    with pytest.raises(ScorerError) as raised:
        read_scorer(place.folder / name)
    number = line.count("\n") + 1
    assert f"score.ipynb, cell 3, line {number} is for IPython alone: {shown!r}" in str(
        raised.value
    )
    assert "Tag the cell skip" in str(raised.value)


def test_a_percent_sign_in_a_text_is_not_a_magic(place: Place):
    template = code('template = """\n%s rides\n!"""\nfactor = 3')
    assert read_scorer(place.folder / notebook(place, template, code(RUN))).code


def test_what_is_not_python_is_named_with_cell_and_line(place: Place):
    name = notebook(place, text("words"), code("x = 1\ny = (2"))
    with pytest.raises(ScorerError, match=r"cell 2, line 2 is not Python: '\(' was never closed"):
        read_scorer(place.folder / name)


def test_a_traceback_names_cell_and_line_and_shows_it(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    failing = code("def run(df, model):\n    size = 3\n    return df['absent']")
    place.job(scorer=notebook(place, text("words"), failing))
    where = ["--jobs", str(place.folder), "--data", str(place.data), "--workers", "1"]
    assert main(["run", "sample", MONTH, *where]) == 6
    shown = capsys.readouterr().err
    assert 'score.ipynb, cell 2", line 3, in run' in shown
    assert "return df['absent']" in shown


def test_a_cell_that_fails_when_it_is_loaded_is_named_with_the_advice(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    place.job(scorer=notebook(place, code("factor = 3"), code("x = 1\ndisplay(x)"), code(RUN)))
    where = ["--jobs", str(place.folder), "--data", str(place.data), "--workers", "1"]
    assert main(["run", "sample", MONTH, *where]) == 6
    shown = capsys.readouterr().err
    assert "cannot be imported: NameError: name 'display' is not defined. Tag the cells" in shown
    assert 'score.ipynb, cell 2", line 2' in shown


def test_without_run_it_is_said_what_to_define(place: Place):
    job = place.job(scorer=notebook(place, code("x = 1")))
    with pytest.raises(ScorerError, match=r"score\.ipynb must define run\(df, model\)"):
        run_steps(place.run(job))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"cells": 3, "nbformat": 4}', "\x00"])
def test_a_file_that_is_not_a_notebook_is_named(place: Place, content: str):
    path = place.folder / "score.ipynb"
    path.write_text(content)
    with pytest.raises(ScorerError, match=r"score\.ipynb"):
        run_steps(place.run(place.job(scorer="score.ipynb")))


def test_a_notebook_in_another_language_is_refused(place: Place):
    kernel = {"name": "ir", "display_name": "R", "language": "R"}
    name = notebook(place, code("x <- 1"), kernelspec=kernel)
    with pytest.raises(ScorerError, match="is in R; a scorer is in Python"):
        read_scorer(place.folder / name)


def test_a_notebook_of_format_3_is_read(place: Place):
    worksheet = {
        "cells": [
            {"cell_type": "code", "input": RUN, "language": "python", "outputs": [], "metadata": {}}
        ]
    }
    old = {
        "metadata": {"name": "old"},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [worksheet],
    }
    (place.folder / "score.ipynb").write_text(json.dumps(old))
    assert read_scorer(place.folder / "score.ipynb").code.decode() == RUN


def test_without_nbconvert_its_extra_is_named(place: Place, monkeypatch: pytest.MonkeyPatch):
    run = place.run(place.job(scorer=notebook(place)))
    for name in [name for name in sys.modules if name.partition(".")[0] == "nbconvert"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    with pytest.raises(
        MissingPackageError, match=r"nbconvert is missing.*batch-scoring\[notebook\]"
    ):
        read_scorer(run.job_file.path.parent / "score.ipynb")


class Blocked:
    """Finds no nbconvert, as where it is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "nbconvert":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_python_file_keeps_the_digest_of_its_bytes(tmp_path: Path):
    path = tmp_path / "scorer.py"
    path.write_bytes(b"def run(df):\r\n    return df\n")
    assert read_scorer(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
