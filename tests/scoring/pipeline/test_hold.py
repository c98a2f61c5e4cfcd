"""Months that have drifted: held, accepted, published."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scoring.cli.main import main
from scoring.destinations.manifest import Manifest
from scoring.errors import ContractError, HeldError, JobError, ModelError, NotStagedError
from scoring.monitoring.distribution import of_manifest
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.hold import held_extraction, held_rows, held_uri, read_held
from scoring.pipeline.local import score_partition
from scoring.pipeline.publish import publish, publish_held
from scoring.pipeline.verify import verify_partition
from tests.s3_server import BUCKET
from tests.scoring.factories import Place, extracted, in_s3, predictions, run_steps, scored

HOLD = {"drift": {"hold": {"PSI": 0.25}}, "max_quarantined_fraction": 1.0}
ROWS = 400


@pytest.fixture
def place(empty: Place) -> Place:
    empty.model()
    return empty


def month(place: Place, key: str, mean: float = 0.0, rows: int = ROWS, **columns: Any) -> None:
    seed = int(key.replace("-", ""))
    x = np.random.default_rng(seed).normal(mean, 1.0, rows)
    place.source(pa.table({"id": range(rows), "x": x, **columns}), f"{key}.parquet")


def published(place: Place, key: str, mean: float = 0.0, **changes: Any) -> Manifest:
    month(place, key, mean)
    return run_steps(place.run(place.job(**changes), key))


def held(place: Place, key: str = "2013-03", **changes: Any) -> PartitionContext:
    """A run of a month that is held: its values have moved by three standard deviations."""
    published(place, "2013-02", checks=HOLD, **changes)
    month(place, key, 3.0)
    run = place.run(place.job(checks=HOLD, **changes), key)
    with pytest.raises(HeldError):
        run_steps(run)
    return run


def test_without_the_section_nothing_is_compared(place: Place):
    published(place, "2013-02")
    manifest = published(place, "2013-03", 3.0)
    assert (manifest.drift, manifest.warnings) == ([], [])


def test_a_month_is_compared_with_the_one_before_and_that_of_the_year_before(place: Place):
    checks = {"drift": {"warn": "default"}, "max_quarantined_fraction": 1.0}
    first = published(place, "2013-02", checks=checks)
    assert first.drift == []
    published(place, "2014-01", 3.0, checks=checks)
    manifest = published(place, "2014-02", 3.0, checks=checks)
    found = {(one["reference"], one["column"]): one["verdict"] for one in manifest.drift}
    assert found == {
        ("2013-02", "x"): "warn",
        ("2013-02", "y"): "warn",
        ("2014-01", "x"): "ok",
        ("2014-01", "y"): "ok",
    }
    assert [warning.partition(":")[0] for warning in manifest.warnings] == ["drift", "drift"]
    assert "x against 2013-02: PSI" in manifest.warnings[0] + manifest.warnings[1]


def test_a_profile_is_the_main_reference(place: Place):
    first = published(place, "2013-02", 3.0)
    profile = place.data / "models" / "v1.profile.json"
    profile.write_text(of_manifest(first).to_json())
    version = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}
    job = {"model": {"versions": [version | {"profile": "{models}/v1.profile.json"}]}}
    checks = {"drift": {"warn": "default"}, "max_quarantined_fraction": 1.0}
    manifest = published(place, "2013-03", checks=checks, **job)
    assert manifest.drift[0]["reference"] == "the training profile"
    assert len(manifest.warnings) == 2
    assert manifest.model.profile is not None
    assert manifest.model.profile.uri == str(profile)
    # One that changes between extract and upload is not compared with.
    run = place.run(place.job(checks=checks, **job), "2013-03")
    shards = scored(run, extracted(run))
    profile.write_text(profile.read_text() + " ")
    with pytest.raises(ModelError, match="no longer the one that sample 2013-03 was extracted"):
        publish(run, shards, {"by": "shell"})
    profile.write_text("{}")
    run = place.run(place.job(checks=checks, **job), "2013-03")
    with pytest.raises(ModelError, match="not a training profile"):
        run_steps(run)


def test_drift_as_a_warning_fails_where_warnings_do(place: Place):
    checks = {"drift": {}, "on_warning": "fail", "max_quarantined_fraction": 1.0}
    published(place, "2013-02", checks=checks)
    with pytest.raises(ContractError, match=r"drift: .* PSI \d"):
        published(place, "2013-03", 3.0, checks=checks)
    off = {"drift": {"warn": "off"}, "on_warning": "fail", "max_quarantined_fraction": 1.0}
    assert len(published(place, "2013-03", 3.0, checks=off).drift) == 2


def test_a_month_that_has_drifted_is_held_and_published_when_it_is_accepted(place: Place):
    run = held(place)
    assert run.publisher.published(run.partition) is None
    record = read_held(run)
    assert record is not None
    assert (record.partition, record.model_version) == ("2013-03", "v1")
    assert "PSI" in record.reasons[0]
    assert f"_staging/month=2013-03/{run.attempt}/extraction.json" in place.files()
    manifest = publish_held(replace(run, attempt="other"), "it was a cold March", "ada")
    assert manifest.run["accepted_drift"] == "it was a cold March"
    assert manifest.run["accepted_by"] == "ada"
    assert manifest.rows.scored == ROWS == predictions(manifest).num_rows
    assert [one["verdict"] for one in manifest.drift] == ["warn", "warn"]
    assert read_held(run) is None
    assert not [name for name in place.files() if "2013-03" in name and "_staging" in name]
    with pytest.raises(HeldError, match="is not held, so there is nothing to accept"):
        publish_held(run, "again", "ada")


def test_the_error_names_columns_figures_and_what_to_do(place: Place):
    published(place, "2013-02", checks=HOLD)
    month(place, "2013-03", 3.0)
    run = place.run(place.job(checks=HOLD), "2013-03")
    with pytest.raises(HeldError) as caught:
        run_steps(run)
    text = str(caught.value)
    assert "sample 2013-03 is held" in text
    assert "x, compared with 2013-02: PSI" in text
    assert "from 0.25 on" in text
    assert 'scoring publish sample 2013-03 --accept "why"' in text
    assert '{"accept_drift": "why"}' in text


def test_a_month_that_is_accepted_from_the_start_is_not_held(place: Place):
    published(place, "2013-02", checks=HOLD)
    month(place, "2013-03", 3.0)
    run = place.run(place.job(checks=HOLD), "2013-03")
    shards = scored(run, extracted(run))
    manifest = publish(run, shards, {"by": "airflow", "accepted_drift": "new fleet"})
    assert manifest.run["accepted_drift"] == "new fleet"


def test_accepting_what_has_not_drifted_leaves_no_trace(place: Place):
    published(place, "2013-02", checks=HOLD)
    month(place, "2013-03")
    run = place.run(place.job(checks=HOLD), "2013-03")
    shards = scored(run, extracted(run))
    accepted = {"by": "airflow", "accepted_drift": "in case", "accepted_by": "ada"}
    assert publish(run, shards, accepted).run == {"by": "airflow"}


def test_what_readers_had_stays_while_a_month_is_held(place: Place):
    before = published(place, "2013-03", checks=HOLD)
    run = held(place)
    now = run.publisher.published(run.partition)
    assert now is not None
    assert now.identity == before.identity


def test_scoring_it_again_ends_the_hold(place: Place):
    run = held(place)
    month(place, "2013-03", 0.0)
    manifest = run_steps(run)
    assert manifest.rows.scored == ROWS
    assert read_held(run) is None


def test_what_is_held_of_another_job_file_is_not_published(place: Place):
    run = held(place)
    changed = place.run(place.job(checks=HOLD, description="changed"), "2013-03")
    with pytest.raises(NotStagedError, match="has changed since 2013-03 was extracted"):
        publish_held(changed, "why", "ada")
    assert changed.publisher.published(run.partition) is None


@pytest.mark.parametrize(
    ("hold", "is_held"),
    [
        ({"PSI": 0.25}, True),
        ({"KS": 0.5}, True),
        ({"PSI": 50}, False),
        ({"PSI": 0.25, "columns": ["x"]}, True),
        ({"PSI": 0.25, "columns": ["k"]}, False),
    ],
)
def test_the_job_says_which_columns_and_figures_hold(
    place: Place, hold: dict[str, Any], is_held: bool
):
    place.model(None, "v1.skops")
    inputs = {"x": {"type": "float64"}, "k": {"type": "float64"}}
    scorer = place.scorer("def run(df, model):\n    return df[['x']].rename(columns={'x': 'y'})\n")
    job = {"inputs": inputs, "scorer": scorer}
    checks = {"drift": {"hold": hold}, "max_quarantined_fraction": 1.0}
    for key, mean in (("2013-02", 0.0), ("2013-03", 3.0)):
        month(place, key, mean, k=np.linspace(0, 1, ROWS))
        run = place.run(place.job(checks=checks, **job), key)
        if key == "2013-03" and is_held:
            with pytest.raises(HeldError):
                run_steps(run)
        else:
            run_steps(run)


def test_chance_alone_holds_no_small_month(place: Place):
    checks = {"drift": {"hold": {"PSI": 0.1}}, "max_quarantined_fraction": 1.0}
    for key in ("2013-02", "2013-03", "2013-04"):
        month(place, key, rows=120)
        run_steps(place.run(place.job(checks=checks), key))


def test_columns_that_the_job_lacks_are_an_error_of_the_job(place: Place):
    with pytest.raises(JobError, match=r"checks\.drift\.hold\.columns: 'temp' is neither an input"):
        place.job(checks={"drift": {"hold": {"PSI": 0.25, "columns": ["temp"]}}})
    with pytest.raises(JobError, match=r"checks\.drift\.hold: .*PSI or KS"):
        place.job(checks={"drift": {"hold": {}}})


def test_verify_compares_bytes_and_holds_nothing(place: Place):
    run = held(place)
    manifest = publish_held(run, "why", "ada")
    assert verify_partition(run).identity == manifest.identity


def test_the_shell_holds_accepts_and_shows_why(place: Place, capsys: pytest.CaptureFixture[str]):
    published(place, "2013-02", checks=HOLD)
    month(place, "2013-03", 3.0)
    path = str(place.job(checks=HOLD).path)
    data = ["--data", str(place.data)]
    assert main(["run", path, "2013-03", "--workers", "1", *data]) == 10
    assert "is held" in capsys.readouterr().err
    assert main(["drift", path, "2013-03", "--json", *data]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {one["verdict"] for one in shown} == {"warn"}
    assert main(["publish", path, "2013-03", "--accept", "it is right", "--json", *data]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["run"]["accepted_drift"] == "it is right"
    assert main(["drift", path, "2013-03", *data]) == 0
    assert "2013-02" in capsys.readouterr().out
    assert main(["drift", path, "2013-03", "--against", "2013-02", "--json", *data]) == 0
    assert json.loads(capsys.readouterr().out) == shown
    assert main(["publish", path, "2013-03", "--accept", "again", *data]) == 10
    assert not list((place.out / "_staging").rglob("*.arrow"))


def test_the_shell_makes_a_profile(place: Place, capsys: pytest.CaptureFixture[str]):
    first, second = published(place, "2013-02"), published(place, "2013-03")
    path, data = str(place.job().path), ["--data", str(place.data)]
    target = place.folder / "v1.profile.json"
    assert main(["profile", path, "2013-02..2013-03", "-o", str(target), *data]) == 0
    capsys.readouterr()
    found = json.loads(target.read_text())
    assert found["inputs"]["x"]["rows"] == first.rows.scored + second.rows.scored
    assert main(["profile", path, "2013-02..2013-03", *data]) == 0
    profile = capsys.readouterr().out
    assert json.loads(profile) == found
    assert main(["profile", path, "2013-02..2013-03", "--json", *data]) == 0
    assert capsys.readouterr().out == profile  # a profile is JSON
    assert main(["profile", path, "2013-02..2013-03", "--json", "-o", str(target), *data]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(target),
        "rows": 2 * ROWS,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
    }
    assert main(["profile", path, "2013-02..2013-04", *data]) == 7
    assert "nothing is published for sample 2013-04" in capsys.readouterr().err


def test_several_processes_hold_and_keep_what_they_staged(place: Place):
    published(place, "2013-02", checks=HOLD)
    month(place, "2013-03", 3.0)
    run = replace(place.run(place.job(checks=HOLD), "2013-03"), attempt="shell")
    with pytest.raises(HeldError):
        score_partition(run, {"by": "shell"}, workers=2)
    assert Path(held_uri(run)).is_file()
    manifest = publish_held(run, "why", "ada")
    assert manifest.rows.scored == ROWS
    # The next run of the same attempt is not disturbed by what was held.
    again = score_partition(run, {"by": "shell", "accepted_drift": "still"}, workers=2)
    assert again.output.sha256 == manifest.output.sha256


def test_a_month_in_s3_is_held_and_accepted(place: Place, s3: Any):
    for key, mean in (("2013-02", 0.0), ("2013-03", 3.0)):
        month(place, key, mean)
    for path in place.data.rglob("*.*"):
        s3.upload_file(str(path), BUCKET, f"lake/{path.relative_to(place.data)}")
    first = in_s3(place, checks=HOLD)
    run_steps(first)
    run = replace(first, partition=first.job.parse("2013-03"))
    with pytest.raises(HeldError):
        run_steps(run)
    assert publish_held(run, "why", "ada").rows.scored == ROWS
    assert read_held(run) is None


def test_the_rows_of_what_is_held_are_counted_as_its_manifest_counts_them(place: Place):
    code = (
        "import pandas as pd\n"
        "def run(df, model):\n"
        "    y = pd.Series(model.predict(df), index=df.index)\n"
        "    return pd.DataFrame({'y': y.where(df.index % 100 != 5)})\n"
    )
    scorer = place.scorer(code)
    published(place, "2013-02", scorer=scorer, checks=HOLD)
    x = np.random.default_rng(3).normal(3.0, 1.0, ROWS)
    x[7] = np.nan
    place.source(pa.table({"id": range(ROWS), "x": x}), "2013-03.parquet")
    run = place.run(place.job(scorer=scorer, checks=HOLD), "2013-03")
    with pytest.raises(HeldError):
        run_steps(run)
    found = read_held(run)
    assert found is not None
    counted = held_rows(held_extraction(run, found), found)
    accepted = publish_held(run, "it is right", "ann").rows
    assert accepted.quarantined > 1
    assert counted.model_dump(exclude={"reasons"}) == accepted.model_dump(exclude={"reasons"})
    assert sum(counted.reasons.values()) == sum(accepted.reasons.values())
    assert counted.reasons["without a prediction"] == accepted.reasons["null_prediction: y"]
