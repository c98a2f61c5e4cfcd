"""The plugin: which Dag files Airflow discovers with it, and whose heuristic is kept."""

from __future__ import annotations

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
