"""Challengers: scored beside the version in force, compared with it, and never published."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.tree import DecisionTreeClassifier

from scoring.cli.main import main
from scoring.destinations.layout import Layout
from scoring.destinations.manifest import ChallengerRecord, Manifest
from scoring.destinations.parquet import ParquetPublication
from scoring.errors import HeldError, MissingPackageError
from scoring.pipeline.challengers import find_challengers
from scoring.pipeline.extract import extract
from scoring.pipeline.local import score_partition
from scoring.pipeline.publish import publish, publish_held
from scoring.pipeline.score import score
from scoring.pipeline.verify import verify_partition
from tests.s3_server import keys
from tests.scoring.factories import Place, in_s3, linear, predictions, rows, run_steps

V1 = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}
V2 = {"version": "v2", "uri": "{models}/v2.skops", "candidate": True}
V3 = {"version": "v3", "uri": "{models}/v3.skops", "candidate": True}
RIVALS = {"model": {"versions": [V1, V2, V3]}, "challengers": ["v2", "v3"]}


@pytest.fixture
def place(empty: Place) -> Place:
    """Ten rows, x = id from 1; v1 doubles x, v2 too, v3 is three times x."""
    empty.source(rows(10, shop=["a", "b"] * 5))
    empty.model()
    empty.model(linear(slope=2.0), "v2.skops")
    empty.model(linear(slope=3.0), "v3.skops")
    return empty


def run(place: Place, key: str = "2013-02", **changes: Any) -> Manifest:
    return score_partition(place.run(place.job(**RIVALS | changes), key), {"by": "test"}, workers=1)


def by_version(manifest: Manifest) -> dict[str, ChallengerRecord]:
    return {record.version: record for record in manifest.challengers}


def test_the_published_bytes_are_those_of_a_job_without_challengers(place: Place):
    alone = run(place, challengers=[])
    before = place.files()
    assert alone.challengers == []
    beside = run(place)
    assert beside.output.sha256 == alone.output.sha256
    more = set(place.files()) - set(before)
    assert {name.split("/")[0] for name in more} == {"_challengers"}
    assert set(pq.read_table(place.out, partitioning=None).column("model_version").to_pylist()) == {
        "v1"
    }


def test_the_manifest_says_how_each_challenger_differs(place: Place):
    found = by_version(run(place, output={"keep": ["shop"]}))
    same, other = found["v2"].difference, found["v3"].difference
    assert same is not None
    assert (same["rows"], same["changed"], same["max_abs_change"]) == (10, 0, 0.0)
    assert other is not None
    # x is 1 to 10, and so is each change.
    assert (other["rows"], other["changed"], other["only_base"], other["only_other"]) == (
        10,
        10,
        0,
        0,
    )
    assert other["mean_change"] == pytest.approx(5.5)
    assert other["max_abs_change"] == pytest.approx(10.0)
    shops = {one["value"]: (one["rows"], one["mean_change"]) for one in other["segments"]["shop"]}
    assert shops == {"a": (5, pytest.approx(5.0)), "b": (5, pytest.approx(6.0))}


def test_what_a_challenger_makes_is_laid_out_as_a_destination(place: Place):
    run(place, "2013-02")
    uri = f"{place.out}/_challengers/v3"
    layout = Layout(uri)
    table = pq.ParquetFile(layout.output_at("month=2013-02")).read()
    assert table.column("y").to_pylist() == pytest.approx([3.0 * x for x in range(1, 11)])
    assert set(table.column("model_version").to_pylist()) == {"v3"}
    manifest = json.loads(Path(layout.manifest("month=2013-02")).read_bytes())
    assert manifest["rows"]["in"] == 10
    assert manifest["model"]["version"] == "v3"
    assert not any("_staging/month" in name for name in place.files())


def test_rows_that_only_one_of_them_scores_are_counted(place: Place):
    place.scorer(
        "def run(df, model):\n"
        "    y = model.predict(df)\n"
        "    return df.assign(y=[None if round(v) in (9, 12, 20) else v for v in y])[['y']]\n"
    )
    # Twice x is 12 and 20 for rows 6 and 10, three times x is 9 and 12 for rows 3 and 4.
    manifest = run(place, scorer="scorer.py", output={"types": {"y": "float64"}})
    assert manifest.rows.quarantined == 2
    difference = by_version(manifest)["v3"].difference
    assert difference is not None
    assert (difference["rows"], difference["only_base"], difference["only_other"]) == (6, 2, 2)
    assert difference["changed"] == 6


def test_changes_of_class_are_counted_by_class(place: Place):
    x = [[float(i)] for i in range(1, 11)]
    for name, limit in (("v1", 5), ("v2", 5), ("v3", 7)):
        labels = ["high" if i > limit else "low" for i in range(1, 11)]
        frame = pd.DataFrame(x, columns=["x"])
        place.model(DecisionTreeClassifier().fit(frame, labels), f"{name}.skops")
    output = {"prediction": "level", "probabilities": {"p_high": "high"}}
    model = RIVALS["model"] | {"trusted_types": ["sklearn.tree._tree.Tree"]}
    found = by_version(run(place, output=output, model=model))["v3"].difference
    assert found is not None
    assert found["classes"] == [{"base": "high", "other": "low", "rows": 2}]
    assert (found["changed"], found["max_abs_change"]) == (2, None)
    assert found["probabilities"] == {"p_high": 1.0}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("gone", "not there"),
        ("other inputs", "other columns"),
        ("raises", "predict"),
    ],
)
def test_a_challenger_that_fails_keeps_nobody_from_publishing(
    place: Place, change: str, why: str, caplog: pytest.LogCaptureFixture
):
    expected = run(place, challengers=[]).output.sha256
    path = place.data / "models" / "v3.skops"
    if change == "gone":
        path.unlink()
    elif change == "other inputs":
        place.model(linear(columns=("x", "z")), "v3.skops")
    else:
        broken = linear()
        broken.coef_ = broken.coef_.reshape(1, 1, 1)[:, :, :0]
        place.model(broken, "v3.skops")
    with caplog.at_level(logging.WARNING):
        manifest = run(place)
    assert manifest.output.sha256 == expected
    record = by_version(manifest)["v3"]
    assert record.error
    assert record.output is None
    assert "the challenger v3 failed" in caplog.text
    assert by_version(manifest)["v2"].error is None


def test_the_version_in_force_does_not_challenge_itself(place: Place):
    later = {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-03"}
    place.source(rows(10, shop=["a"] * 10), "2013-03.parquet")
    job = {"model": {"versions": [V1, later, V3]}, "challengers": ["v2"]}
    assert [c.version for c in run(place, "2013-02", **job).challengers] == ["v2"]
    assert run(place, "2013-03", **job).challengers == []
    context = place.run(place.job(**RIVALS | job), "2013-02")
    pinned = score_partition(context, {"by": "test"}, "v2", workers=1)
    assert (pinned.model.version, pinned.challengers) == ("v2", [])


def test_upload_that_is_tried_again_after_the_challengers_were_published(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    """Airflow tries the last task again where it was killed: all that it needs is still staged."""
    context = place.run(place.job(**RIVALS))
    model = context.model_file()
    challengers = find_challengers(context, model)
    extraction = extract(context, model, challengers=challengers)
    shards = [score(context, s, model, 1, challengers.files) for s in extraction.shards]
    commit = ParquetPublication.commit
    calls: list[str] = []

    def die(self: Any, manifest: Manifest) -> Manifest:
        calls.append(manifest.model.version)
        if manifest.model.version == "v1" and calls.count("v1") == 1:
            raise KeyboardInterrupt
        return commit(self, manifest)

    monkeypatch.setattr(ParquetPublication, "commit", die)
    with pytest.raises(KeyboardInterrupt):
        publish(context, shards, {"by": "test"})
    manifest = publish(context, shards, {"by": "test"})
    assert calls == ["v2", "v3", "v1", "v2", "v3", "v1"]
    assert {record.version: record.error for record in manifest.challengers} == {
        "v2": None,
        "v3": None,
    }


def test_a_held_month_is_published_with_its_challengers(place: Place):
    run(place, challengers=[])
    place.model(linear(slope=5.0), "v1.skops")
    context = place.run(place.job(**RIVALS, checks={"max_changed_fraction": 0.1}))
    with pytest.raises(HeldError):
        score_partition(context, {"by": "test"}, workers=1)
    manifest = publish_held(context, "retrained", "ada")
    assert [record.error for record in manifest.challengers] == [None, None]


def test_a_month_is_verified_without_its_challengers(place: Place):
    run(place)
    before = place.files()
    assert verify_partition(place.run(place.job(**RIVALS)), workers=1).model.version == "v1"
    assert place.files() == before


def test_clean_leaves_what_challengers_have_published(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    run(place)
    before = place.files()
    folder = place.out / "_challengers" / "v3"
    leftover = folder / "_quarantine" / "month=2013-02" / "0123456789abcdef.parquet"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"of a run that was killed")
    job = str(place.folder / "sample.yaml")
    assert main(["clean", job, "--data", str(place.data)]) == 0
    assert place.files() == before
    assert "1 leftover, 24 bytes removed" in capsys.readouterr().out


def test_in_s3(lake: Place, s3: Any):
    context = in_s3(lake, **RIVALS)
    manifest = score_partition(context, {"by": "test"}, workers=1)
    assert {record.version: record.error for record in manifest.challengers} == {
        "v2": None,
        "v3": None,
    }
    found = {key.split("/")[2] for key in keys(s3, "lake/out/")}
    assert found == {"_challengers", "_columns.arrow", "_manifests", "month=2013-02"}
    assert predictions_of(manifest, s3).num_rows == 2500


def predictions_of(manifest: Manifest, s3: Any) -> pa.Table:
    bucket, _, key = manifest.output.uri.removeprefix("s3://").partition("/")
    return pq.read_table(pa.BufferReader(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))


def test_predictions_are_those_of_the_version_itself(place: Place):
    """What a challenger scores, it publishes byte for byte once it is in force."""
    beside = by_version(run(place))["v3"]
    promoted = {"version": "v3", "uri": "{models}/v3.skops", "in_force_from": "2013-02"}
    published = run(place, model={"versions": [promoted]}, challengers=[])
    assert beside.output is not None
    assert published.output.sha256 == beside.output.sha256
    assert predictions(published).num_rows == 10


def test_a_challenger_whose_predictions_have_another_type_than_before(place: Place):
    """Its own earlier months stay as they are; the month that is published does not wait for it."""
    expected = run(place).output.sha256
    place.source(rows(10, shop=["a"] * 10), "2013-03.parquet")
    place.scorer(
        "def run(df, model):\n"
        "    y = model.predict(df)\n"
        "    return df.assign(y=y if y.max() < 25 else 'high')[['y']]\n"
    )
    manifest = run(place, "2013-03", scorer="scorer.py")
    record = by_version(manifest)["v3"]
    assert record.error is not None
    assert "is published as float64 so far" in record.error
    assert manifest.output.sha256 != expected
    assert by_version(manifest)["v2"].error is None


def test_a_challenger_whose_package_is_not_there(place: Place, monkeypatch: pytest.MonkeyPatch):
    import scoring.pipeline.score as step

    prepare = step.prepare_model

    def without_package(job_file: Any, file: Any, *rest: Any) -> Any:
        if file.version == "v3":
            raise MissingPackageError(
                "v3 needs the package xgboost: install batch-scoring[xgboost]"
            )
        return prepare(job_file, file, *rest)

    monkeypatch.setattr(step, "prepare_model", without_package)
    manifest = run_steps(place.run(place.job(**RIVALS)))
    assert manifest.rows.scored == 10
    assert by_version(manifest)["v3"].error == (
        "v3 needs the package xgboost: install batch-scoring[xgboost]"
    )


def test_challengers_are_evaluated_too(place: Place, capsys: pytest.CaptureFixture[str]):
    truth = pa.table({"id": range(1, 11), "truth": [3.0 * x for x in range(1, 11)]})
    place.source(truth, "truth-2013-02.parquet")
    actuals = {"source": {"uri": "{data}/source/truth-{partition}.parquet"}, "column": "truth"}
    run(place, actuals=actuals)
    job, data = str(place.folder / "sample.yaml"), ["--data", str(place.data)]
    assert main(["evaluate", job, "2013-02", "--json", *data]) == 0
    found = json.loads(capsys.readouterr().out)
    errors = {one["model_version"]: one["regression"]["mae"] for one in found}
    assert errors == pytest.approx({"v1": 5.5, "v2": 5.5, "v3": 0.0}, abs=1e-9)
    assert [one["challenger"] for one in found] == [False, True, True]
    assert main(["evaluate", job, "2013-02", *data]) == 0
    assert "v3 (challenger)" in capsys.readouterr().out
    # What is published now has no challengers: theirs of an earlier publication do not count.
    run(place, challengers=[], actuals=actuals)
    assert main(["evaluate", job, "2013-02", "--json", *data]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_show_says_how_each_differs(place: Place, capsys: pytest.CaptureFixture[str]):
    (place.data / "models" / "v2.skops").unlink()
    run(place)
    assert (
        main(["show", str(place.folder / "sample.yaml"), "2013-02", "--data", str(place.data)]) == 0
    )
    printed = capsys.readouterr().out.splitlines()
    lines = [line.split(None, 1)[1].rstrip() for line in printed if line.startswith("challenger")]
    assert lines[0] == (
        "v3: 100.00% of 10 rows differ, by 5.5 on average and 10 at most, from these predictions"
    )
    assert lines[1].startswith("v2: the model file of sample v2 is not there")


@pytest.mark.parametrize("why", ["a header only", "all quarantined", "all left out"])
def test_a_month_without_predictions(place: Place, why: str):
    changes: dict[str, Any] = {"checks": {"min_rows": 0, "max_quarantined_fraction": 1.0}}
    if why == "a header only":
        place.source(rows(10).slice(0, 0))
    elif why == "all quarantined":
        place.source(rows(10, x=[None] * 10))
    else:
        changes["leave_out"] = {"every_one": "x > 0"}
    manifest = run(place, **changes)
    assert manifest.rows.scored == 0
    for record in manifest.challengers:
        assert (record.error, record.rows_scored) == (None, 0)
        assert record.difference is not None
        assert (record.difference["rows"], record.difference["changed"]) == (0, 0)


def test_a_challenger_that_ends_the_process_does_not(place: Place):
    place.scorer(
        "import sys\n"
        "def run(df, model):\n"
        "    y = model.predict(df)\n"
        "    return df.assign(y=y)[['y']] if y.max() < 25 else sys.exit(3)\n"
    )
    manifest = run(place, scorer="scorer.py")
    assert manifest.rows.scored == 10
    error = by_version(manifest)["v3"].error
    assert error is not None
    assert "predicting failed with SystemExit: 3" in error
