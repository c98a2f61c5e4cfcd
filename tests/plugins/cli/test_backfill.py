"""``airflow scoring backfill``: which backfills it creates, with which runs, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.cli import cli_parser
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models import DagModel
from airflow.models.backfill import Backfill
from airflow.models.dagrun import DagRun
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from scoring_airflow import job_dag
from scoring_airflow.cli import backfill
from scoring_airflow.stored_dags import PartitionRun, last_runs

from scoring.job.loader import load_job
from scoring.monitoring.coverage import Covered
from tests import small_job
from tests.one_run import BUNDLE

Call = Callable[..., int]


@pytest.fixture
def job(airflow_database: None, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job of two years, whose paused Dag Airflow has stored; the name is this test's own."""
    name = f"backfill_{abs(hash(tmp_path.name))}"
    path = small_job.write_job(tmp_path, name=name, start="2013-01", end=None, model={
        "versions": [
            {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-01"},
            {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-04"},
        ]
    })  # fmt: skip
    stored = LazyDeserializedDAG.from_dag(job_dag(load_job(path)))
    DagBundlesManager().sync_bundles_to_db()
    with create_session() as session:
        update_dag_parsing_results_in_db(BUNDLE, None, [stored], {}, 0.0, set(), session)
    return name


@pytest.fixture
def call(job: str) -> Call:
    """Runs the command as ``airflow`` does; returns its exit status."""

    def call(*arguments: str, dag_id: str = job) -> int:
        options = cli_parser.get_parser().parse_args(["scoring", "backfill", dag_id, *arguments])
        try:
            options.func(options)
        except SystemExit as done:
            return int(done.code or 0)
        return 0

    return call


@pytest.fixture
def closes(job: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Each pause of the command, in which Airflow closes the backfill that is active."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 10
        with create_session() as session:
            for active in session.query(Backfill).filter_by(dag_id=job, completed_at=None):
                active.completed_at = datetime.now(UTC)

    monkeypatch.setattr(backfill, "time", SimpleNamespace(sleep=sleep))
    return pauses


def _runs(dag_id: str) -> dict[str, tuple[str, Any]]:
    with create_session() as session:
        return {
            run.run_id: (run.run_type, run.conf)
            for run in session.query(DagRun).filter_by(dag_id=dag_id).order_by(DagRun.run_id)
        }


def _set(dag_id: str, month: str, state: DagRunState) -> None:
    with create_session() as session:
        for run in session.query(DagRun).filter_by(dag_id=dag_id):
            if month in run.run_id:
                run.state = state


def _id(month: str) -> str:
    start = datetime.fromisoformat(f"{month}-01T00:00:00+00:00")
    end = (start + timedelta(days=40)).strftime("%Y-%m-02T03:00:00+00:00")
    return f"backfill__{month}__{end}"


def test_each_partition_has_one_run_that_is_named_after_it(
    call: Call, job: str, capsys: pytest.CaptureFixture[str]
) -> None:
    default = DagRun.generate_run_id
    assert call("2013-02..2013-04", "--model-version", "v2") == 0
    expected = {_id(f"2013-0{month}"): ("backfill", {"model_version": "v2"}) for month in (2, 3, 4)}
    assert _runs(job) == expected
    assert DagRun.generate_run_id is default
    shown = capsys.readouterr()
    assert f"{job} is paused: its runs start after `airflow dags unpause" in shown.err
    table = [line.split()[:2] for line in shown.out.splitlines() if line.startswith("2013")]
    assert table == [["2013-02", "queued"], ["2013-03", "queued"], ["2013-04", "queued"]]


def test_ranges_are_joined_and_wait_for_each_other(
    call: Call, job: str, closes: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("2013-02", "2013-06..2013-07", "2013-03") == 0
    with create_session() as session:
        found = session.query(Backfill).filter_by(dag_id=job).order_by(Backfill.id)
        dates = [(f"{b.from_date:%Y-%m}", f"{b.to_date:%Y-%m}", b.max_active_runs) for b in found]
    assert dates == [("2013-02", "2013-03", 4), ("2013-06", "2013-07", 4)]
    assert list(_runs(job)) == [_id(f"2013-0{month}") for month in (2, 3, 6, 7)]
    assert len(closes) == 1
    assert "waiting for backfill" in capsys.readouterr().err


def test_again_the_same_runs_are_cleared_and_the_policy_decides(
    call: Call, job: str, closes: list[float]
) -> None:
    assert call("2013-02..2013-03", "--model-version", "v2") == 0
    _set(job, "2013-0", DagRunState.SUCCESS)
    assert call("2013-02..2013-03") == 0
    assert _runs(job) == {_id(month): ("backfill", {}) for month in ("2013-02", "2013-03")}


def test_only_those_that_failed(
    call: Call, job: str, closes: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("2013-02..2013-04") == 0
    _set(job, "2013-0", DagRunState.SUCCESS)
    _set(job, "backfill__2013-03__", DagRunState.FAILED)
    capsys.readouterr()
    assert call("2013-01..2013-12", "--failed", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2013-03"


def test_only_those_that_are_not_published_or_stale(
    call: Call, job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    states = {"2013-02": "published", "2013-04": "stale", "2013-03": "failed", "2013-06": "held"}

    def known(of: Any, roots: Any, connections: Any, partitions: list[Any]) -> list[Covered]:
        return [Covered(p, states.get(p.key, "missing")) for p in partitions]

    monkeypatch.setattr(backfill, "coverage", known)
    assert call("2013-02..2013-05", "--missing", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["2013-03", "2013-05"]
    assert call("2013-02..2013-06", "--stale", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-1:] == ["2013-04"]
    assert call("2013-02..2013-06", "--stale", "--missing", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[-3:] == ["2013-03", "2013-04", "2013-05"]
    assert call("2013-02", "--missing") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert _runs(job) == {}


def test_it_waits_for_catchup(
    call: Call, job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with create_session() as session:
        dag = session.get(DagModel, job)
        dag.is_paused, dag.next_dagrun = False, datetime(2013, 3, 2, 3, tzinfo=UTC)

    def catchup_goes_on(seconds: float) -> None:
        assert _runs(job) == {}
        with create_session() as session:
            session.get(DagModel, job).next_dagrun = datetime(2013, 4, 2, 3, tzinfo=UTC)

    monkeypatch.setattr(backfill, "time", SimpleNamespace(sleep=catchup_goes_on))
    assert call("2013-03") == 0
    assert "waiting for catchup" in capsys.readouterr().err
    assert list(_runs(job)) == [_id("2013-03")]


@pytest.mark.parametrize(("state", "status"), [("success", 0), ("failed", 1)])
def test_it_waits_until_all_are_over_and_says_how(
    call: Call,
    job: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
    status: int,
) -> None:
    with create_session() as session:
        dag = session.get(DagModel, job)
        dag.is_paused, dag.next_dagrun = False, None
    states = iter([("2013-02", "success"), ("2013-03", "running"), ("2013-03", state)])

    def time_goes_by(seconds: float) -> None:
        month, becomes = next(states)
        _set(job, f"__{month}__", DagRunState(becomes))

    monkeypatch.setattr(backfill, "time", SimpleNamespace(sleep=time_goes_by))
    assert call("2013-02..2013-03", "--wait") == status
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("2013-0")]
    assert lines[:5] == [
        "2013-02: queued",
        "2013-03: queued",
        "2013-02: success",
        "2013-03: running",
        f"2013-03: {state}",
    ]
    assert [line.split()[:2] for line in lines[5:]] == [["2013-02", "success"], ["2013-03", state]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["2013-2"], "'2013-2' is not a month; a month looks like 2013-05"),
        (["2013-04..2013-02"], "write 2013-02..2013-04"),
        (["2012-12"], "its partitions are from 2013-01 on"),
        (["2013-02", "--model-version", "v9"], "has no model version 'v9'; it has v1, v2"),
        (["2199-01"], "2199-01: not due yet by the job's schedule"),
        (["2013-02", "--wait"], "is paused: its runs start after"),
    ],
)
def test_what_cannot_be_is_an_error(
    call: Call, job: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert call(*arguments) > 1
    error = capsys.readouterr().err
    assert "error: " in error
    assert message in error
    assert _runs(job) == {}


def test_a_dag_that_is_not_there(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("2013-02", dag_id="nothing") == 2
    assert "Airflow has no Dag nothing" in capsys.readouterr().err


def test_the_last_run_of_a_partition_counts_also_one_by_hand(job: str, tmp_path: Path) -> None:
    config = load_job(tmp_path / f"{job}.yaml").job

    def run(day: int, state: str, **facts: Any) -> SimpleNamespace:
        at = datetime(2026, 1, day, tzinfo=UTC)
        march = datetime(2013, 3, 2, 3, tzinfo=UTC)
        known = {
            "run_id": f"on day {day}",
            "conf": {},
            "data_interval_start": march,
            "run_after": at,
        }
        return SimpleNamespace(queued_at=at, state=state, **(known | facts))

    runs = [
        run(3, "success", conf={"partition": "2013-03"}, data_interval_start=None),
        run(1, "success"),
        run(2, "failed"),
        run(4, "failed", conf=None, data_interval_start=None),
    ]
    assert last_runs(runs, config) == {"2013-03": PartitionRun("on day 3", "success")}
