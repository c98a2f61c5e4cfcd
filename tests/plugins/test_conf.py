"""What a user who may trigger a run can do with its conf: choose a model version of the job, little
more.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from scoring_airflow import job_dag
from scoring_airflow.conf import check_conf

from scoring.job.loader import load_job
from tests import small_job
from tests.one_run import OneRun

FEBRUARY = datetime(2013, 2, 2, 3, tzinfo=UTC)


@pytest.fixture
def extracted(airflow_database: None, data: Path, tmp_path: Path):
    """Makes a run of the job's own Dag with a conf, and runs its extract task."""

    def extracted(conf: Any) -> tuple[Any, list[Path]]:
        job = small_job.write_job(tmp_path, name=f"job_{tmp_path.name}"[:90].rstrip("_"))
        run = OneRun(job_dag(load_job(job)), FEBRUARY, "run", conf)
        result = run.run(run.dag.get_task("extract"))
        return result, sorted((data / "predictions").glob("**/extraction.json"))

    return extracted


@pytest.mark.parametrize(
    "conf",
    [
        {"job_file": "/etc/passwd", "data_interval_start": "2013-03-02T03:00:00+00:00"},
        {"data_interval_end": "x", "params": {"model_version": "v2"}, "dag_run": {"conf": {}}},
        {"more": "{{ 7 * 7 }}", "destination": {"uri": "/tmp"}, "source": "/etc/passwd"},
        {"large": "x" * 10_000_000},
        {"x" * 1_000_000: 1},
        {"model_verzion": "v2"},
        {"replace_newer": "yes"},
    ],
    ids=["fields", "context", "sections", "large", "long", "misspelt", "type"],
)
def test_other_keys_fail_the_first_task(extracted, conf: dict[str, Any]) -> None:
    result, found = extracted(conf)
    assert result.state == "failed"  # and not up_for_retry
    assert isinstance(result.error, AirflowFailException)
    assert str(result.error).startswith("the conf of this run is invalid: ")
    assert len(str(result.error)) < 2000
    assert found == []


def test_keys_of_airflow_and_of_the_trigger_form_are_not_mistakes(extracted) -> None:
    conf = {
        "model_version": None,
        "replace_newer": False,
        "openlineage": {"parentRunId": "x"},  # by TriggerDagRunOperator
        "_of_a_plugin": 1,
    }
    result, (extraction,) = extracted(conf)
    assert (result.state, result.error) == ("success", None)
    assert json.loads(extraction.read_text())["model"]["version"] == "v1"


@pytest.mark.parametrize("conf", [None, {}])
def test_a_run_needs_no_conf(extracted, conf: Any) -> None:
    assert extracted(conf)[0].state == "success"


def checked(conf: Any, *params: str) -> str:
    """What is said of a conf; empty where it is right."""
    dag = SimpleNamespace(params=dict.fromkeys(["model_version", *params]))
    try:
        check_conf({"dag_run": SimpleNamespace(conf=conf), "dag": dag})
    except AirflowFailException as error:
        return str(error)
    return ""


KNOWN = "(known here: partition, model_version, replace_newer, accept_drift, accept_changes)"


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({"model_verzion": "v2"}, f'"model_verzion"; did you mean model_version? {KNOWN}'),
        ({"Model_Version": "v2"}, "; did you mean model_version?"),
        ({"replace-newer": True}, '"replace-newer"; did you mean replace_newer?'),
        ({"xyz": 1}, f'unknown key "xyz" {KNOWN}'),
        ({"model_version": 3}, 'model_version is 3, and a version\'s name is text: write "3"'),
        ({"model_version": ["v1"]}, 'model_version is ["v1"], and a version\'s name is text: write such as "v1"'),
        ({"partition": 2013}, 'partition is 2013, and a key is text: write such as "2013-05"'),
        ({"partitions": "2013-05"}, "; did you mean partition?"),
        ({"model_version": True}, "model_version is true, and"),
        ({"replace_newer": "yes"}, 'replace_newer is "yes": write true or false, without quotes'),
        ({"replace_newer": "true"}, 'replace_newer is "true": write true or false, without quotes'),
        ({"replace_newer": 1}, "replace_newer is 1: write true or false"),
        ({"replace_newer": None}, "replace_newer is null: write true or false"),
        ({"a": 1, "b": 2}, f'"a" {KNOWN}; unknown key "b" ('),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_conf_is_said(conf: dict[str, Any], expected: str) -> None:
    assert expected in checked(conf)
    assert "Nothing was read or published. Start another run" in checked(conf)


def test_params_of_the_dag_are_in_its_conf() -> None:
    assert checked({"dry": True}, "dry") == ""
    assert "did you mean dry?" in checked({"dri": True}, "dry")


@pytest.mark.parametrize(
    "version",
    [
        "../../v2",
        "{{ 'v2' }}",
        "{{ conn.scoring_s3.password }}",
        "v2'; DROP TABLE dag_run; --",
        "v" * 10_000_000,
        ["v2"],
        {"v2": 1},
        7,
    ],
    ids=["path", "template", "secret", "sql", "large", "list", "mapping", "number"],
)
def test_there_is_no_run_with_a_version_that_the_job_does_not_list(
    extracted, data: Path, version: Any
) -> None:
    with pytest.raises(ParamValidationError, match=r"is not (one of|of type)"):
        extracted({"model_version": version})
    assert list((data / "predictions").glob("**/*")) == []


def test_a_version_of_the_job_is_taken(extracted) -> None:
    result, (extraction,) = extracted({"model_version": "v2"})
    assert result.state == "success"
    assert json.loads(extraction.read_text())["model"]["version"] == "v2"
