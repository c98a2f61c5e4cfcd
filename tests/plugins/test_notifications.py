"""Which alerts are sent when a run has failed or is late."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import yaml
from airflow.sdk import BaseNotifier, DeadlineReference
from airflow.serialization.serialized_objects import DagSerialization
from scoring_airflow import job_dag, notifications

from scoring.errors import JobError
from scoring.job.loader import load_job
from tests import small_job
from tests.docs.pages import page

NOTIFIER = f"{__name__}.Notifier"


class Notifier(BaseNotifier):
    """Keeps what it was to tell; the text ``fail`` makes it fail."""

    template_fields = ("text",)
    sent: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        if self.text == "fail":
            raise ConnectionError("nobody listens")
        self.sent.append((self.text, dict(context)))


def no_notifier(text: str) -> None:
    raise AssertionError("a job file must not be able to call a function")


@pytest.fixture
def sent():
    Notifier.sent.clear()
    return Notifier.sent


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCORING_DATA", "/data")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.org/")

    def make(*texts: str, notifier: str = NOTIFIER, when: list[str] | None = None, **run: Any):
        limits = {} if when is None else {"when": when}
        listed = [{"notifier": notifier, "arguments": {"text": text}, **limits} for text in texts]
        return job_dag(load_job(small_job.write_job(tmp_path, alerts=listed, run=run)))

    return make


FAILED = {
    "run_id": "scheduled__2013-03-02T03:00:00+00:00",
    "dag_run": SimpleNamespace(
        run_id="scheduled__2013-03-02T03:00:00+00:00",
        data_interval_start=datetime(2013, 2, 2, 3, tzinfo=UTC),
    ),
    "ti": SimpleNamespace(task_id="score", xcom_pull=lambda **of: None),
    "conn": "out of reach",
}
LATE = {
    "dag_run": {
        "dag_id": "small_flights",
        "dag_run_id": "scheduled__2013-03-02T03:00:00+00:00",
        "data_interval_start": "2013-02-02T03:00:00Z",
    },
    "deadline": {},
}
TEXT = "{{ job }} {{ partition }}: {{ problem }} ({{ run_id }}) {{ url }}"
URL = "https://airflow.example.org/dags/small_flights/runs/scheduled__2013-03-02T03%3A00%3A00%2B00%3A00"


def _miss(dag: Any, context: dict[str, Any]) -> None:
    (deadline,) = dag.deadline
    asyncio.run(notifications.run_is_late(**deadline.callback.kwargs, context=context))


def test_a_failed_run_is_reported_to_all(make, sent) -> None:
    make(TEXT, "{{ partition }}").on_failure_callback(FAILED)
    expected = (
        f"small_flights 2013-02: failed in task score (scheduled__2013-03-02T03:00:00+00:00) {URL}"
    )
    assert [text for text, _ in sent] == [expected, "2013-02"]


def test_a_second_run_is_reported_by_itself(make, sent) -> None:
    dag = make("{{ partition }}")
    dag.on_failure_callback(FAILED)
    march = SimpleNamespace(run_id="x", data_interval_start=datetime(2013, 3, 2, 3, tzinfo=UTC))
    dag.on_failure_callback(FAILED | {"dag_run": march})
    assert [text for text, _ in sent] == ["2013-02", "2013-03"]


def _held_ti(held: str | None = "held: x") -> SimpleNamespace:
    """The upload task of a run, of which Airflow has kept why its partition is held."""
    kept = {("upload", notifications.HELD): held}
    return SimpleNamespace(
        task_id="upload", xcom_pull=lambda task_ids, key: kept.get((task_ids, key))
    )


def test_a_held_run_says_why_in_place_of_where_it_failed(make, sent) -> None:
    dag = make("{{ partition }}: {{ problem }}")
    dag.on_failure_callback(FAILED | {"ti": _held_ti("held: x, compared with 2013-01: PSI 3.000")})
    dag.on_failure_callback(FAILED | {"ti": _held_ti(None)})
    assert [text for text, _ in sent] == [
        "2013-02: held: x, compared with 2013-01: PSI 3.000",
        "2013-02: failed in task upload",
    ]


def test_an_alert_is_sent_though_airflow_does_not_say_whether_it_is_held(make, sent) -> None:
    def xcom_pull(**of: Any) -> None:
        raise ConnectionError("no API server")

    ti = SimpleNamespace(task_id="upload", xcom_pull=xcom_pull)
    make("{{ problem }}").on_failure_callback(FAILED | {"ti": ti})
    assert [text for text, _ in sent] == ["failed in task upload"]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (None, ["failed", "held", "late"]),
        (["failed"], ["failed"]),
        (["held"], ["held"]),
        (["late"], ["late"]),
        (["late", "failed"], ["failed", "late"]),
        (["drift", "stale"], []),
    ],
    ids=str,
)
def test_an_alert_is_sent_for_what_the_job_says(
    make, sent, when: list[str] | None, expected: list[str]
) -> None:
    dag = make("{{ problem }}", when=when, deadline_hours=1)
    if dag.on_failure_callback:
        dag.on_failure_callback(FAILED)
        dag.on_failure_callback(FAILED | {"ti": _held_ti()})
    _miss(dag, LATE)
    words = {"failed in task score": "failed", "held: x": "held"}
    assert [words.get(text, "late") for text, _ in sent] == expected


def test_a_run_that_failed_without_a_task_is_reported_too(make, sent) -> None:
    make("{{ partition }} {{ problem }} {{ run_id }}").on_failure_callback({"run_id": "by hand"})
    assert [text for text, _ in sent] == ["(no partition) failed by hand"]


def test_the_notifier_gets_no_more_than_the_job_file_may_name(make, sent) -> None:
    make("x").on_failure_callback(FAILED)
    ((_, context),) = sent
    assert set(context) == {*notifications.FACTS, "text"}


def test_one_alert_that_fails_does_not_keep_back_the_others(make, sent, caplog) -> None:
    dag = make("fail", "sent")
    with pytest.raises(ConnectionError, match="nobody listens"):
        dag.on_failure_callback(FAILED)
    assert [text for text, _ in sent] == ["sent"]
    assert f"the alert by {NOTIFIER} could not be sent" in caplog.text


def test_a_late_run_is_reported_to_the_same(make, sent) -> None:
    dag = make("{{ job }} {{ partition }}: {{ problem }}", deadline_hours=1.5)
    _miss(dag, LATE)
    expected = "small_flights 2013-02: not published 1.5 hours after the run was queued"
    assert [text for text, _ in sent] == [expected]


def test_a_late_run_of_a_job_without_alerts_is_logged(make, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        _miss(make(deadline_hours=6), LATE)
    assert "small_flights 2013-02 is late: not published 6 hours after" in caplog.text


def test_the_deadline_counts_from_when_the_run_was_queued(make) -> None:
    (deadline,) = make("x", deadline_hours=0.5).deadline
    assert deadline.reference == DeadlineReference.DAGRUN_QUEUED_AT
    assert deadline.interval == timedelta(minutes=30)
    assert deadline.callback.path == "scoring_airflow.notifications.run_is_late"


def test_airflow_can_store_it(make) -> None:
    dag = make("x", deadline_hours=0.5)
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert stored.has_on_failure_callback
    assert len(DagSerialization.to_dict(dag)["dag"]["deadline"]) == 1


@pytest.mark.parametrize(
    ("notifier", "message"),
    [
        (f"{__name__}.no_notifier", "is not a notifier: it must be a class derived from"),
        ("os.system", "os.system is not a notifier"),
        ("builtins.dict", "builtins.dict is not a notifier"),
        (f"{__name__}.Absent", "cannot be imported: AttributeError"),
        (
            "airflow.providers.slack.notifications.slack.SlackNotifier",
            "cannot be imported: ModuleNotFoundError: No module named 'airflow.providers.slack'; "
            "install the package that airflow.providers.slack.notifications.slack is part of",
        ),
    ],
)
def test_what_is_not_a_notifier_is_a_mistake_of_the_job(
    make, tmp_path: Path, notifier: str, message: str
) -> None:
    with pytest.raises(JobError) as error:
        make("x", notifier=notifier)
    lines = (tmp_path / "small_flights.yaml").read_text().splitlines()
    line = lines.index(f"- notifier: {notifier}") + 1
    assert f"\n  line {line}, alerts[1].notifier: {notifier} " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ ti.task_id }}", "{{ ti }} is not known in an alert; these are: job, partition"),
        ("{{ conn.slack.password }}", "{{ conn }} is not known"),
        ("{% for x in dag.tasks %}{% endfor %}", "{{ dag }} is not known"),
        ("{{ job", "is not a template: unexpected end of template"),
    ],
)
def test_a_template_that_could_not_be_sent_is_a_mistake_of_the_job(
    make, text: str, message: str
) -> None:
    with pytest.raises(JobError, match=r"line \d+, alerts\[1\]\.arguments\.text: ") as error:
        make(text)
    assert message in str(error.value)


def test_arguments_that_the_notifier_does_not_take_are_a_mistake_of_the_job(
    tmp_path: Path, make
) -> None:
    listed = [{"notifier": NOTIFIER, "arguments": {"text": "x", "colour": "red"}}]
    path = small_job.write_job(tmp_path, alerts=listed)
    with pytest.raises(JobError, match=r"alerts\[1\]\.arguments: .*unexpected keyword .*'colour'"):
        job_dag(load_job(path))


def test_templates_cannot_reach_python(make, sent, caplog) -> None:
    dag = make("{{ job.__class__.__mro__ }}")
    with pytest.raises(Exception, match="unsafe"):
        dag.on_failure_callback(FAILED)
    assert sent == []
    assert re.search("could not be sent", caplog.text)


def test_the_smtp_notifier_of_the_docs_is_taken(tmp_path: Path, make) -> None:
    (shown,) = [b for b in page("docs/jobs.md").blocks if "SmtpNotifier" in b.text]
    mail, slack = yaml.safe_load(shown.text)["alerts"]
    assert job_dag(load_job(small_job.write_job(tmp_path, alerts=[mail]))).has_on_failure_callback
    with pytest.raises(
        JobError, match=r"No module named 'airflow\.providers\.slack'"
    ):  # to install
        job_dag(load_job(small_job.write_job(tmp_path, alerts=[slack])))
