"""The README's marked blocks do what they say, in a folder that holds nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.docs.pages import REPOSITORY, page

README = page("README.md")
SCORING = ".venv/bin/scoring"


class Checkout:
    """A folder that looks like the checkout after ``make setup``, and a home."""

    def __init__(self, folder: Path) -> None:
        self.root, self.home = folder / "checkout", folder / "home"
        programs = self.root / ".venv" / "bin"
        programs.mkdir(parents=True)
        self.home.mkdir()
        for folder in ("dags", "examples/green_taxi"):
            shutil.copytree(REPOSITORY / folder, self.root / folder)
        self._program(programs / "python", f'exec "{sys.executable}" "$@"')
        self._program(programs / "scoring", f'exec "{sys.executable}" -m scoring "$@"')
        self._program(programs / "make", "exit 0")  # `make setup` is done

    def run(self, block: str) -> str:
        """Runs a block of commands as a person would type them; returns what it prints."""
        environment = {
            "HOME": str(self.home),
            "PATH": f"{self.root}/.venv/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "LANG": "C.UTF-8",
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @staticmethod
    def _program(path: Path, command: str) -> None:
        path.write_text(f"#!/bin/sh\n{command}\n")
        path.chmod(0o755)


def marked(kind: str, name: str) -> list[str]:
    return [block.text for block in README.blocks if block.mark == (kind, name)]


def assert_matches(printed: str, sample: str) -> None:
    """Line by line; blanks may differ in number, and ``…`` in the sample stands for anything."""
    for line in sample.splitlines():
        pattern = r"\s+".join(
            ".*".join(re.escape(part) for part in word.split("…")) for word in line.split()
        )
        assert re.search(rf"^\s*{pattern}\s*$", printed, re.MULTILINE), f"{line!r} in:\n{printed}"


def test_the_whole_readme_is_marked_as_it_is_run_here() -> None:
    names = {block.mark for block in README.blocks if block.mark}
    assert names == {
        ("output", "run"),  # `make run` has a test of its own; a line of it is checked here
        ("test", "install"),  # with the next two in tests/packaging/test_wheel.py
        ("test", "job"),
        ("test", "dag-file"),
        ("test", "python"),
        ("test", "own-job"),
        ("output", "own-job"),
        ("test", "green"),
        ("output", "green"),
        ("test", "shell"),
        ("test", "predictions"),
        ("test", "serve"),
    }


def test_add_your_own_job(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    printed = "".join(checkout.run(block) for block in marked("test", "own-job"))
    unfolded = printed.replace("\n                   ", "")
    (sample,) = marked("output", "own-job")
    assert_matches(unfolded, sample)
    assert (checkout.home / "my_data/predictions/month=2024-01/predictions.parquet").is_file()
    job = (checkout.root / "dags" / "jobs" / "my_job.yaml").read_text()
    keys = [line for line in job.splitlines() if not line.startswith(" ")]
    assert len(keys) == 10, "a job in ten lines"


def test_a_table_without_a_key(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    (commands,), (sample,) = marked("test", "green"), marked("output", "green")
    assert_matches(checkout.run(commands), sample)
    job = yaml.safe_load((REPOSITORY / "examples/green_taxi/green_duration.yaml").read_text())
    shown = yaml.safe_load(next(b.text for b in README.blocks if "date_diff" in b.text))
    for section, value in shown.items():
        if section == "model":
            value, job[section] = value["input"], job[section]["input"]
        assert job[section] == value


def test_from_the_shell(tmp_path: Path, example_data: Path) -> None:
    checkout = Checkout(tmp_path)
    shutil.copytree(example_data, checkout.root / ".run" / "data")
    assert "exist: .run/data" in checkout.run(".venv/bin/python -m examples")
    (commands,) = marked("test", "shell")
    printed = checkout.run(commands)
    assert "the same" in printed
    rows = json.loads(checkout.run(f"{SCORING} show flight_delay 2013-05 --json"))["rows"]
    counts = [f"{rows[name]:,}" for name in ("in", "scored", "quarantined")]
    (sample,) = marked("output", "run")
    (line,) = [line for line in sample.splitlines() if line.startswith("2013-05")]
    assert line.split()[2:5] == counts
    (python,) = marked("test", "python")
    (checkout.root / "example.py").write_text(python)
    printed = checkout.run(".venv/bin/python example.py")
    assert printed.startswith(f"{rows['scored']:,} predictions in ")
    (read,) = marked("test", "predictions")
    assert "predicted_arr_delay" in checkout.run(read)
    (requests,) = marked("test", "serve")
    answer, _, compared = checkout.run(requests).partition("]}")
    (row,) = json.loads(answer + "]}")["rows"]
    assert isinstance(row["predicted_arr_delay"], float)
    assert counts[1] in compared


def test_the_first_screen_has_what_it_is_the_picture_the_job_and_the_installation() -> None:
    screen = "\n".join(README.text.splitlines()[:40])
    for block in ("install", "job", "dag-file"):
        (text,) = marked("test", block)
        assert text in screen
    assert "![" in screen
    (job,) = marked("test", "job")
    assert len(job.splitlines()) == 10
