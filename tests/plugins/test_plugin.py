"""The plugin: which Dag files Airflow discovers with it, and whose heuristic is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.configuration import conf
from scoring_airflow.plugin import ScoringPlugin, might_contain_dag

from scoring.destinations.manifest import code_version

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


LIGHT = """
import sys
from scoring_airflow.plugin import ScoringPlugin
plugin = ScoringPlugin()
heavy = ("scoring_airflow.web.app", "airflow.api_fastapi.core_api.security", "fastapi", "pyarrow")
print([name for name in heavy if name in sys.modules])
"""


def test_only_the_api_server_imports_the_pages() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


WITHOUT_JINJA = """
import logging, sys
sys.modules["jinja2"] = None
from scoring_airflow.plugin import ScoringPlugin
shown = logging.StreamHandler(sys.stdout)
shown.setFormatter(logging.Formatter("said: %(message)s"))
logging.getLogger("scoring_airflow.plugin").addHandler(shown)
plugin = ScoringPlugin()
print(plugin.fastapi_apps, plugin.external_views)
"""


def test_airflow_starts_without_the_pages_where_something_is_missing() -> None:
    # In a process of its own: modules that are imported twice would be two for the tests that follow.
    command = [sys.executable, "-c", WITHOUT_JINJA]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *logged, found = done.stdout.splitlines()
    assert found == "[] []"
    (line,) = [line for line in logged if line.startswith("said: ")]
    assert line.startswith("said: the pages of batch-scoring are left out of the web UI: ")
    assert "jinja2" in line


def test_the_pages_are_in_the_navigation_below_airflows_own_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/airflow/")
    view, of_dag, of_run = ScoringPlugin().external_views
    assert (view["href"], view["destination"]) == ("/airflow/scoring/", "nav")
    assert (of_dag["href"], of_dag["destination"]) == ("/airflow/scoring/dags/{DAG_ID}", "dag")
    assert of_dag["url_route"] != view["url_route"]  # Airflow leaves out the second of one route
    assert view["icon"].startswith("/airflow/scoring/static/icon.")
    assert (of_run["href"], of_run["destination"]) == (
        "/airflow/scoring/runs/{DAG_ID}/{RUN_ID}",
        "dag_run",
    )


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


CODE_VERSION = """
import scoring_airflow.preload
from pathlib import Path
from scoring.destinations.manifest import code_version
Path.read_bytes = None  # the files may be another release's by now
print(code_version())
"""


def test_a_manifest_names_the_code_that_was_loaded_and_not_what_is_installed_later() -> None:
    command = [sys.executable, "-c", CODE_VERSION]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == code_version()


POLICIES = """
import os, sys
os.sched_setscheduler(0, int(sys.argv[1]), os.sched_param(0))
import scoring_airflow.preload
if (child := os.fork()) == 0:
    print("of a task:", os.sched_getscheduler(0), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no SCHED_BATCH")
@pytest.mark.parametrize(
    ("before", "after"),
    [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE", "SCHED_IDLE")],
)
def test_tasks_inherit_the_batch_policy_unless_another_was_chosen(before: str, after: str) -> None:
    command = [sys.executable, "-c", POLICIES, str(getattr(os, before))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"of a task: {getattr(os, after)}"
