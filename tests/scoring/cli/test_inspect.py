"""``scoring inspect``: what it lists, that nothing of a hostile file runs, what a job says to it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import skops.io
from sklearn.tree import DecisionTreeRegressor

import scoring
from scoring.cli.main import main
from tests.scoring.factories import MONTH, Place, linear


class Reduced:
    """An object whose pickle calls ``maker`` with ``args``."""

    def __init__(self, maker: Any, *args: Any) -> None:
        self.made = (maker, args)

    def __reduce__(self) -> Any:
        return self.made


def write(place: Place, data: bytes, name: str) -> Path:
    path = place.data / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def job(place: Place, name: str, trusted: list[str] | None = None, **version: Any) -> list[str]:
    """The arguments that name a job with the model file ``name``."""
    one = {"version": "v1", "uri": f"{{models}}/{name}", "in_force_from": MONTH, **version}
    return ["--job", str(place.job(model={"versions": [one], "trusted_types": trusted or []}).path)]


def test_a_hostile_pickle_is_listed_and_nothing_of_it_is_executed(tmp_path: Path):
    proof, beside = tmp_path / "proof", tmp_path / "beside.py"
    beside.write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\nclass Model: ...\n")
    hostile = tmp_path / "model.pkl"
    system = pickle.dumps([Reduced(os.system, f"touch {proof}")], 4)
    # The list, and an instance of a class of a module that lies beside.
    hostile.write_bytes(system[:-1] + b"\x8c\x06beside\x8c\x05Model\x93)\x81\x86.")
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv.pop(1))\n"
        "from scoring.cli.main import main\n"
        "status = main(sys.argv[1:])\n"
        "assert 'beside' not in sys.modules\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "inspect", str(hostile), "--json"],
        capture_output=True,
        text=True,
        cwd=Path(scoring.__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {one["name"]: (one["used"], one["verdict"]) for one in found["imports"]} == {
        "posix.system": ("called", "can run code"),
        "beside.Model": ("called", "unknown"),
    }
    assert not proof.exists()
    assert not (tmp_path / "imported").exists()


def test_what_is_printed_for_people(empty: Place, capsys: pytest.CaptureFixture[str]):
    path = write(empty, pickle.dumps([linear(), Reduced(os.system, "true")]), "v1.pkl")
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: joblib, ")
    assert "scikit-learn 1." in lines[0]
    assert lines[1] == f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    row = next(line for line in lines if line.startswith("posix.system"))
    assert row.split() == ["posix.system", "1", "called", "can", "run", "code"]
    row = next(line for line in lines if "LinearRegression" in line)
    assert row.rstrip().endswith("type of a model")


def test_names_cannot_forge_lines_or_move_the_cursor(
    empty: Place, capsys: pytest.CaptureFixture[str]
):
    name = "a\x1b[2J\r\nposix [red]"
    text = bytes([len(name)]) + name.encode()
    path = write(empty, b"\x80\x04\x8c" + text + b"\x8c\x01b\x93.", "v1.pkl")
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"a\x1b[2J\r\nposix [red].b" in out


def test_data_only(empty: Place, capsys: pytest.CaptureFixture[str]):
    from tests.scoring.models.test_formats import data_of

    path = write(empty, data_of("lightgbm"), "v1.txt")
    arguments = job(empty, "v1.txt", format="lightgbm")
    assert main(["inspect", str(path), *arguments]) == 0
    out = capsys.readouterr().out
    assert "data only: loading it imports nothing" in out
    assert "sample needs no digest of lightgbm files" in out


def test_a_job_allows_a_pickle_by_its_digest_only(empty: Place, capsys: pytest.CaptureFixture[str]):
    path = write(empty, pickle.dumps(linear()), "v1.pkl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = job(empty, "v1.pkl", sha256=digest)
    assert main(["inspect", str(path), *pinned, "--version", "v1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["allowed"] is True
    assert found["reason"] == "sample pins this digest as v1"
    other = job(empty, "v1.pkl", sha256="0" * 64)
    assert main(["inspect", str(path), *other]) == 5
    printed = capsys.readouterr()
    assert "LinearRegression" in printed.out
    assert (
        f"does not pin its digest, so it would not be loaded. If you trust it, write sha256: {digest}"
        in printed.err
    )
    assert main(["inspect", str(path), *other, "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["allowed"] is False
    assert main(["inspect", str(path), *other, "--version", "v9"]) == 5
    assert "has no version 'v9'; its versions are v1" in capsys.readouterr().err


def test_a_job_allows_a_skops_file_by_its_types(empty: Place, capsys: pytest.CaptureFixture[str]):
    model = DecisionTreeRegressor().fit([[1.0], [2.0]], [1.0, 2.0])
    path = write(empty, skops.io.dumps(model), "v1.skops")
    assert main(["inspect", str(path), *job(empty, "v1.skops")]) == 5
    printed = capsys.readouterr()
    assert "does not trust: sklearn.tree._tree.Tree" in printed.err
    assert "to be trusted" in printed.out
    trusting = job(empty, "v1.skops", ["sklearn.tree._tree.Tree"])
    assert main(["inspect", str(path), *trusting]) == 0
    assert "sample needs no digest of skops files" in capsys.readouterr().out
    other = job(empty, "v1.skops", ["sklearn.tree._tree.Tree"], sha256="0" * 64)
    assert main(["inspect", str(path), *other, "--version", "v1"]) == 5
    assert "pins another digest as v1" in capsys.readouterr().err


def test_a_pickle_that_breaks_off_lists_what_came_before(
    empty: Place, capsys: pytest.CaptureFixture[str]
):
    path = write(empty, pickle.dumps(linear())[:-5], "v1.pkl")
    assert main(["inspect", str(path)]) == 5
    printed = capsys.readouterr()
    assert "sklearn.linear_model._base.LinearRegression" in printed.out
    assert "the pickle breaks off near byte" in printed.err
    assert "do not load it" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pkl"], "there is no file nowhere.pkl"),
        (["pyproject.toml"], "is not a model file of a kind that is known"),
        (["scoring"], "scoring cannot be read: Is a directory"),
        (["v1.pkl", "--version", "v1"], "name the job with --job"),
    ],
)
def test_what_cannot_be_inspected_is_one_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["inspect", *arguments]) == 5
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert "Traceback" not in printed.err


def test_the_error_for_a_pickle_without_a_digest_names_the_command(empty: Place):
    from scoring.errors import ModelError
    from tests.scoring.factories import rows, run_steps

    empty.source(rows(3))
    write(empty, pickle.dumps(linear()), "v1.skops")
    with pytest.raises(
        ModelError, match=r"`scoring inspect .*v1\.skops` lists what it would import"
    ):
        run_steps(empty.run(empty.job()))
