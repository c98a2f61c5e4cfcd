"""Months that are scored again: held where they differ by too much from what is published."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from scoring.cli.main import main
from scoring.destinations.manifest import Manifest
from scoring.errors import HeldError
from scoring.pipeline.context import PartitionContext
from scoring.pipeline.hold import read_held
from scoring.pipeline.publish import publish, publish_held
from tests.scoring.factories import (
    MONTH,
    Place,
    extracted,
    linear,
    predictions,
    rows,
    run_steps,
    scored,
)

TWO = {
    "model": {
        "versions": [
            {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
            {"version": "v2", "uri": "{models}/v2.skops", "candidate": True},
        ]
    }
}
OTHER_FOR_30_PERCENT = """
def run(df, model):
    y = model.predict(df)
    return df.assign(y=[v + 100 if x <= 30 else v for v, x in zip(y, df.x)])[["y"]]
"""


@pytest.fixture
def place(empty: Place) -> Place:
    empty.source(rows(100))
    empty.model()
    return empty


def context(place: Place, **changes: Any) -> PartitionContext:
    return place.run(place.job(**changes))


def limits(**of: Any) -> dict[str, Any]:
    return {"checks": {"max_quarantined_fraction": 1.0, **of}}


def changed_by_30_percent(place: Place, **changes: Any) -> PartitionContext:
    run_steps(context(place))
    return context(place, scorer=place.scorer(OTHER_FOR_30_PERCENT), **changes)


def test_a_month_that_changes_by_more_than_its_limit_is_held_and_accepted(place: Place):
    again = changed_by_30_percent(place, **limits(max_changed_fraction=0.1))
    before = again.publisher.published(again.partition)
    with pytest.raises(HeldError) as error:
        run_steps(again)
    assert str(error.value).splitlines() == [
        "sample 2013-02 is held: it differs from what is published",
        "  0.3000 of 100 rows differ, and checks.max_changed_fraction is 0.1: 30 have another "
        "prediction, 0 no prediction any longer, 0 had none before",
        "It is scored and staged, and readers have what they had before. `scoring publish sample "
        '2013-02 --accept "why"` publishes it as it is; in Airflow, so does another run with the conf '
        '{"accept_changes": "why"}',
    ]
    assert "0.3000 of 100 rows differ" in error.value.summary
    assert again.publisher.published(again.partition) == before
    manifest = publish_held(again, "the night flights were wrong", "ada")
    assert manifest.run["accepted_changes"] == "the night flights were wrong"
    assert manifest.run["accepted_by"] == "ada"
    assert "accepted_drift" not in manifest.run
    assert manifest.difference is not None
    assert (manifest.difference["changed"], manifest.difference["rows"]) == (30, 100)
    assert manifest.difference["max_abs_change"] == pytest.approx(100.0)
    assert manifest.difference["mean_change"] == pytest.approx(30.0)
    assert predictions(manifest).column("y").to_pylist()[29:31] == pytest.approx([160.0, 62.0])


@pytest.mark.parametrize("limit", [{"max_changed_fraction": 0.3}, {"max_abs_change": 100.1}])
def test_at_the_limit_a_month_is_published_and_says_what_changed(
    place: Place, limit: dict[str, float]
):
    manifest = run_steps(changed_by_30_percent(place, **limits(**limit)))
    assert manifest.difference is not None
    assert manifest.difference["changed"] == 30
    assert "accepted_changes" not in manifest.run


def test_a_prediction_that_changes_by_more_than_the_limit(place: Place):
    with pytest.raises(HeldError, match=r"changes by 100, and checks.max_abs_change is 99.5"):
        run_steps(changed_by_30_percent(place, **limits(max_abs_change=99.5)))


def test_rows_that_are_gone_and_new_count(place: Place):
    run_steps(context(place))
    ids = [*range(1, 81), *range(1001, 1011)]
    place.source(rows(90, id=ids))  # 20 are gone, 10 are new, and x of these is another one
    with pytest.raises(
        HeldError, match=r"0.2727 of 110 rows differ.*: 0 have another prediction, 20 no"
    ):
        run_steps(context(place, **limits(max_changed_fraction=0.25)))


def test_the_first_publication_and_the_same_bytes_are_not_held(place: Place):
    strict = limits(max_changed_fraction=0.0, max_abs_change=0.0)
    first = run_steps(context(place, **strict))
    again = run_steps(context(place, **strict))
    assert (first.difference, again.difference) == (None, None)
    assert again.output.sha256 == first.output.sha256


def test_predictions_that_were_numbers_and_are_not_any_longer_are_held(place: Place):
    run_steps(context(place))
    place.scorer("def run(df, model):\n    return df.assign(y='high')[['y']]\n")
    with pytest.raises(HeldError, match="y is float64 in one, and text in the other"):
        run_steps(context(place, scorer="scorer.py", **limits(max_changed_fraction=0.9)))


def test_a_column_that_was_not_published_is_said(place: Place):
    run_steps(context(place))
    with pytest.raises(HeldError, match="no column 'z' to compare with"):
        run_steps(context(place, output={"prediction": "z"}, **limits(max_changed_fraction=0.9)))


def test_accepting_drift_does_not_accept_changes(place: Place):
    again = changed_by_30_percent(place, **limits(max_changed_fraction=0.1))
    extraction_of = {"by": "airflow", "accepted_drift": "summer", "accepted_by": "ada"}
    shards = scored(again, extracted(again))
    with pytest.raises(HeldError):
        publish(again, shards, extraction_of)
    manifest = publish(again, shards, {**extraction_of, "accepted_changes": "a fix"})
    assert {key: manifest.run[key] for key in ("accepted_changes", "accepted_by")} == {
        "accepted_changes": "a fix",
        "accepted_by": "ada",
    }
    assert "accepted_drift" not in manifest.run


def test_from_the_shell(place: Place, capsys: pytest.CaptureFixture[str]):
    again = changed_by_30_percent(place, **limits(max_changed_fraction=0.1))
    job, data = str(place.folder / "sample.yaml"), ["--data", str(place.data)]
    assert main(["run", job, MONTH, *data]) == 10
    assert "0.3000 of 100 rows differ" in capsys.readouterr().err
    held = read_held(again)
    assert held is not None
    assert (held.reasons, len(held.changes)) == ([], 1)
    assert main(["publish", job, MONTH, "--accept", "a fix", "--json", *data]) == 0
    manifest = Manifest.model_validate(json.loads(capsys.readouterr().out))
    assert manifest.run["accepted_changes"] == "a fix"


def test_a_version_that_changes_30_percent(place: Place):
    """As in a promotion: the month is scored again with another model version, and held."""
    trusted = {"trusted_types": ["sklearn.tree._tree.Tree"]}
    x = pd.DataFrame({"x": np.arange(1.0, 101.0)})
    place.model(DecisionTreeRegressor().fit(x, x.x), "v1.skops")
    place.model(DecisionTreeRegressor().fit(x, np.where(x.x > 70, -x.x, x.x)), "v2.skops")
    first = run_steps(context(place, model=TWO["model"] | trusted))
    versions = [
        TWO["model"]["versions"][0] | {"in_force_from": "2013-01"},
        {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-02"},
    ]
    changes = {"model": {"versions": versions} | trusted, **limits(max_changed_fraction=0.1)}
    promoted = context(place, **changes)
    with pytest.raises(HeldError, match=r"0\.3000 of 100 rows differ"):
        run_steps(promoted)
    manifest = publish_held(promoted, "v2 sees the summer", "ada")
    assert (first.model.version, manifest.model.version) == ("v1", "v2")
    assert manifest.run["accepted_changes"] == "v2 sees the summer"
    assert manifest.difference is not None
    assert manifest.difference["changed"] == 30


def test_a_month_whose_file_is_gone_is_repaired_without_a_question(place: Place):
    first = run_steps(context(place))
    (place.out / "month=2013-02" / "predictions.parquet").unlink()
    again = changed = run_steps(context(place, **limits(max_changed_fraction=0.0)))
    assert (again.output.sha256, changed.difference) == (first.output.sha256, None)


def test_a_month_whose_file_is_broken_is_held(place: Place):
    run_steps(context(place))
    (place.out / "month=2013-02" / "predictions.parquet").write_bytes(b"PAR1 no longer")
    place.model(linear(slope=3.0))
    with pytest.raises(HeldError, match=r"cannot be compared: .* is broken"):
        run_steps(context(place, **limits(max_changed_fraction=0.5)))


def test_classes_that_differ_from_shard_to_shard(place: Place):
    """Text is encoded by shard, each with a dictionary of its own."""
    place.source(rows(3000))
    label = (
        "def run(df, model):\n    return df.assign(y=[f'{x // 500:.0f}' for x in df.x])[['y']]\n"
    )
    job = {"scorer": "scorer.py", **limits(max_changed_fraction=0.9)}
    place.scorer(label)
    run_steps(context(place, **job))
    place.scorer(label.replace("500", "600"))
    manifest = run_steps(context(place, **job))
    assert manifest.difference is not None
    expected = sum(x // 500 != x // 600 for x in range(1, 3001))
    assert (manifest.difference["rows"], manifest.difference["changed"]) == (3000, expected)
    assert manifest.difference["max_abs_change"] is None
    assert {"base": "1", "other": "0", "rows": 100} in manifest.difference["classes"]


def test_the_same_bytes_again_keep_who_accepted_them(place: Place):
    again = changed_by_30_percent(place, **limits(max_changed_fraction=0.1))
    with pytest.raises(HeldError):
        run_steps(again)
    accepted = publish_held(again, "a fix", "ada")
    manifest = run_steps(again)
    assert manifest.output.sha256 == accepted.output.sha256
    assert manifest.run == {"by": "test", "accepted_changes": "a fix", "accepted_by": "ada"}
    assert manifest.difference == accepted.difference


def test_a_month_without_predictions_after_a_full_one(place: Place):
    run_steps(context(place))
    place.source(rows(100, x=[None] * 100))
    with pytest.raises(HeldError, match=r"1\.0000 of 100 rows differ"):
        run_steps(context(place, **limits(max_changed_fraction=0.5)))


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ("df.x > 3", "'high'", "y is bool.* in one, and text in the other"),
        ("'true'", "df.x > 3", "y is text in one, and bool.* in the other"),
        ("'2013-02-01'", "__import__('pandas').Timestamp('2013-02-01')", "in the other"),
    ],
)
def test_values_of_other_kinds_are_not_compared(place: Place, before: str, now: str, says: str):
    code = "def run(df, model):\n    return df.assign(y={})[['y']]\n"
    place.scorer(code.format(before))
    run_steps(context(place, scorer="scorer.py"))
    place.scorer(code.format(now))
    with pytest.raises(HeldError, match=says):
        run_steps(context(place, scorer="scorer.py", **limits(max_changed_fraction=0.9)))


def test_large_integers_are_compared_to_the_last_digit(place: Place):
    code = "def run(df, model):\n    return df.assign(y={} + df.x.astype('int64'))[['y']]\n"
    job = {"scorer": "scorer.py"}
    place.scorer(code.format(2**60))
    run_steps(context(place, **job))
    place.scorer(code.format(2**60 + 1))
    with pytest.raises(HeldError, match="a prediction changes by 1, and"):
        run_steps(context(place, **job, **limits(max_abs_change=0.5)))
