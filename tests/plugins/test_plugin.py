"""The plugin: which Dag files Airflow discovers with it, and whose heuristic is kept."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.configuration import conf
from scoring_airflow.plugin import ScoringPlugin, might_contain_dag

SETTING = ("core", "might_contain_dag_callable")


@pytest.fixture
def setting() -> Iterator[None]:
    before = conf.get(*SETTING)
    yield
    conf.set(*SETTING, before)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('from scoring_airflow import load_jobs\nload_jobs("jobs")\n', True),
        ("from airflow.sdk import DAG\n", True),
        ("import pandas\n", False),
    ],
)
def test_files_that_are_discovered(tmp_path: Path, text: str, found: bool) -> None:
    path = tmp_path / "file.py"
    path.write_text(text)
    assert might_contain_dag(str(path)) is found
    with zipfile.ZipFile(tmp_path / "dags.zip", "w") as archive:
        archive.writestr("file.py", text)
    with zipfile.ZipFile(tmp_path / "dags.zip") as archive:
        assert might_contain_dag("file.py", archive) is found


@pytest.mark.usefixtures("setting")
def test_it_replaces_airflows_default_only() -> None:
    ScoringPlugin.on_load()
    assert conf.getimport(*SETTING) is might_contain_dag
    conf.set(*SETTING, "their.own.heuristic")
    ScoringPlugin.on_load()
    assert conf.get(*SETTING) == "their.own.heuristic"


TASK_IMPORTS_NOTHING = """
import sys
import scoring_airflow.preload
before = set(sys.modules)
from scoring_airflow import ExtractOperator, ScoreOperator, UploadOperator, load_jobs
import scoring_airflow.backoff
import scoring.pipeline.extract, scoring.pipeline.score, scoring.pipeline.publish
print(sorted(name for name in set(sys.modules) - before if name.startswith("scoring")))
"""


def test_after_the_preload_a_task_finds_the_operators_and_the_steps_imported() -> None:
    command = [sys.executable, "-c", TASK_IMPORTS_NOTHING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
