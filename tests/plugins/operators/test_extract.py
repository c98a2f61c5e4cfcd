from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException
from scoring_airflow.operators.base import _attempt as _attempt_of
from scoring_airflow.shard_limit import ShardLimit

from scoring.job.loader import load_job
from scoring.pipeline.staging import Staged
from tests.plugins.conftest import FEBRUARY, Start


def test_it_returns_a_small_dict_for_each_shard(start: Start) -> None:
    of = start()
    result = of.run.run(of.extract)
    assert (result.state, result.error) == ("success", None)
    shards = of.run.returned(of.extract)
    assert [shard["rows"] for shard in shards] == [980, 980, 490]
    assert [shard["number"] for shard in shards] == [0, 1, 2]
    assert all(set(shard) == {"number", "uri", "rows", "sha256"} for shard in shards)
    assert all(Path(shard["uri"]).is_file() for shard in shards)
    assert len(json.dumps(shards)) < 2000  # it goes through Airflow's database


def _attempt(of) -> Path:
    assert of.run.run(of.extract).state == "success"
    return Path(of.run.returned(of.extract)[0]["uri"]).parent


def test_runs_stage_in_folders_of_their_own_with_readable_names(start: Start) -> None:
    names = [
        "scheduled__2013-02-02T03:00:00+00:00",
        "backfill__2013-02-02T03:00:00+00:00",
        "by~hand:1",
        "by+hand_1",  # the same letters and digits
        "x" * 250,
        "x" * 249 + "y",
    ]
    folders = [
        _attempt(start(FEBRUARY + timedelta(days=day), run_id=name))
        for day, name in enumerate(names)
    ]
    assert len(set(folders)) == len(names)
    staging = folders[0].parent
    assert staging.parts[-2:] == ("_staging", "month=2013-02")
    assert all(folder.parent == staging and len(folder.name) < 100 for folder in folders)
    assert folders[0].name.startswith("scheduled_2013-02-02T03_00_00")


@pytest.mark.parametrize("run_id", ["../../elsewhere", "..", ".", "a/b", "a\n", "%2e%2e"])
def test_the_name_of_a_run_is_never_a_path(start: Start, run_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", _attempt_of("dag", run_id))
    if ".." in run_id:
        with pytest.raises(ValueError, match=r"must not contain '\.\.' to prevent path traversal"):
            start(run_id=run_id)


def test_a_retry_stages_in_the_same_folder(start: Start) -> None:
    of = start()
    assert _attempt(of) == _attempt(of)


@pytest.mark.parametrize(("pinned", "expected"), [("v2", "v2"), ("", "v1"), (None, "v1")])
def test_a_model_version_may_be_pinned(start: Start, pinned: str | None, expected: str) -> None:
    of = start(extract={"model_version": pinned})
    staged = json.loads((_attempt(of) / "extraction.json").read_text())
    assert staged["model"]["version"] == expected


def test_a_missing_source_is_retried(start: Start, data: Path) -> None:
    of = start()
    source = data / "flights" / "2013-02.parquet"
    source.rename(data / "elsewhere")
    late = of.run.run(of.extract)
    assert late.state == "up_for_retry"
    assert str(source) in str(late.error)
    (data / "elsewhere").rename(source)
    assert of.run.run(of.extract).state == "success"


BAD = {
    "contract": ({"checks": {"max_quarantined_fraction": 0.01}}, "50 .*2,500"),
    "job file": ({"partition": "fortnight"}, "partition: \"fortnight\" is not allowed"),
    "model": ({"model": {"versions": [{"version": "v1", "uri": "{models}/v1.skops",
                                       "in_force_from": "2013-03"}]}}, "2013-02.*2013-03"),
    "partition": ({"start": "2013-03"}, "no partition 2013-02.*from 2013-03 to 2013-04"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_what_a_retry_cannot_fix_fails_at_once(start: Start, changes: dict, message: str) -> None:
    of = start(**changes)
    result = of.run.run(of.extract)
    assert result.state == "failed"  # although two retries are left
    assert re.search(message, str(result.error), re.DOTALL), result.error


def test_an_unknown_model_version_fails_and_names_the_known_ones(start: Start) -> None:
    of = start(extract={"model_version": "v9"})
    result = of.run.run(of.extract)
    assert result.state == "failed"
    assert "'v9'; it has v1, v2" in str(result.error)


def test_a_run_without_a_data_interval_says_what_to_do(start: Start) -> None:
    of = start(interval_start=None)
    result = of.run.run(of.extract)
    assert result.state == "failed"
    assert "without a logical date" in str(result.error)
    assert 'Trigger a run with the conf {"partition": "2013-02"}' in str(result.error)


@pytest.mark.parametrize("start_of_run", [datetime(2026, 10, 2, 3, tzinfo=UTC), None])
def test_the_conf_of_a_run_by_hand_names_the_partition(
    start: Start, start_of_run: datetime | None
) -> None:
    of = start(start_of_run, run_id="manual__1", conf={"partition": "2013-03"})
    assert _attempt(of).parent.name == "month=2013-03"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("2013-3", "'2013-3' is not a month; a month looks like 2013-05"),
        ("2014-01", "no partition 2014-01: its partitions are from 2013-02 to 2013-04"),
    ],
)
def test_a_wrong_partition_fails_and_the_right_ones_are_named(
    start: Start, key: str, message: str
) -> None:
    of = start(run_id="manual__1", conf={"partition": key})
    result = of.run.run(of.extract)
    assert result.state == "failed"
    assert message in str(result.error)


def test_a_job_that_has_ended_says_what_a_run_of_today_would_score(start: Start) -> None:
    of = start(datetime(2026, 10, 2, 3, tzinfo=UTC), run_id="manual__1")
    result = of.run.run(of.extract)
    assert result.state == "failed"
    for words in ("no partition 2026-10", "begins at 2026-10-02", '{"partition": "2013-02"}'):
        assert words in str(result.error)


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_the_dates_of_a_backfill_decide_what_it_scores(start: Start, run_type: str) -> None:
    of = start(run_id=f"{run_type}__1", conf={"partition": "2013-03"})
    result = of.run.run(of.extract)
    assert result.state == "failed"
    assert f"the conf of this {run_type} run asks for partition 2013-03" in str(result.error)


def test_the_partition_may_be_given(start: Start) -> None:
    of = start(
        interval_start=datetime(1999, 1, 1, tzinfo=UTC),
        extract={"data_interval_start": "2013-03-31 23:59:59+00:00"},
    )
    assert _attempt(of).parent.name == "month=2013-03"


@pytest.mark.parametrize("moment", ["last month", "2013-02-02T03:00:00"])
def test_a_partition_that_is_not_a_moment_fails(start: Start, moment: str) -> None:
    of = start(extract={"data_interval_start": moment})
    result = of.run.run(of.extract)
    assert result.state == "failed"
    assert moment in str(result.error)


def test_more_shards_than_airflow_maps_over_are_refused_at_the_first_rows(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    too_small = start(run_id="three")
    result = too_small.run.run(too_small.extract)
    assert result.state == "failed"
    text = str(result.error)
    assert "2,500 rows are 3 shards, and Airflow maps a task over 2 shards at most" in text
    assert "Set run.shard_rows of small_flights to 1250 or more" in text
    fixed = start(FEBRUARY + timedelta(days=1), run_id="two", run={"shard_rows": 1250})
    assert fixed.run.run(fixed.extract).state == "success"
    assert len(fixed.run.returned(fixed.extract)) == 2


WAITING = {"source": {"wait": {"timeout_hours": 1, "poke_interval_seconds": 1}}}


def test_a_job_that_waits_defers_until_its_source_is_there(start: Start, data: Path) -> None:
    of = start(**WAITING)
    source = data / "flights" / "2013-02.parquet"
    source.rename(data / "elsewhere")
    began = datetime.now(UTC)
    deferred = of.run.run(of.extract)
    assert (deferred.state, deferred.error) == ("deferred", None)
    (data / "elsewhere").rename(source)
    event = of.run.let_trigger_fire(of.extract).payload
    assert event["found"] is True
    waits = datetime.fromisoformat(event["until"]) - datetime.fromisoformat(event["since"])
    assert waits == timedelta(hours=1)
    assert began <= datetime.fromisoformat(event["since"]) <= datetime.now(UTC)
    assert of.run.run(of.extract).state == "success"
    assert [shard["rows"] for shard in of.run.returned(of.extract)] == [980, 980, 490]


def test_a_source_that_goes_again_is_waited_for_no_longer_than_at_first(
    start: Start, data: Path
) -> None:
    of = start(**WAITING)
    source = data / "flights" / "2013-02.parquet"
    of_source = source.read_bytes()
    source.unlink()
    assert of.run.run(of.extract).state == "deferred"
    events = []
    for _ in range(2):
        source.write_bytes(of_source)
        events.append(of.run.let_trigger_fire(of.extract).payload)
        source.unlink()
        assert of.run.run(of.extract).state == "deferred"
    assert events[0] == events[1]


def test_when_its_time_is_over_it_fails_and_is_not_tried_again(start: Start, data: Path) -> None:
    of = start(source={"wait": {"timeout_hours": 1e-6}})
    source = data / "flights" / "2013-02.parquet"
    source.unlink()
    assert of.run.run(of.extract).state == "deferred"
    assert of.run.let_trigger_fire(of.extract).payload["found"] is False
    late = of.run.run(of.extract)
    assert late.state == "failed"  # although two retries are left
    assert re.fullmatch(
        rf"the source of small_flights 2013-02 is not there: {source}\. .*; "
        r"timed out after \S+ h \(source\.wait\.timeout_hours\)",
        str(late.error),
    )


def test_what_waiting_cannot_fix_fails_before_it(start: Start, data: Path) -> None:
    of = start(**WAITING, extract={"model_version": "v9"})
    (data / "flights" / "2013-02.parquet").unlink()
    assert of.run.run(of.extract).state == "failed"


def test_where_the_number_of_rows_is_not_known_the_first_shard_too_many_ends_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    of = start()
    limit = ShardLimit(load_job(Path(of.extract.job_file)).job)
    limit.on_rows(1000, None)
    for number in (0, 1):
        limit.on_shard(Staged(number=number, uri="", rows=1, sha256=""))
    with pytest.raises(
        AirflowFailException, match="there are more than 2,000 rows, and Airflow"
    ) as found:
        limit.on_shard(Staged(number=2, uri="", rows=1, sha256=""))
    assert "to 2000 or more" in str(found.value)
