"""Versions compared over months: what is reused, what is scored, and that nothing is published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from scoring.cli.main import main
from scoring.errors import ModelError, PublicationError, VerifyError
from scoring.pipeline import version_diff
from scoring.pipeline.local import score_partition
from scoring.pipeline.verify import verify_partition
from scoring.pipeline.version_diff import VersionDiff, diff_versions
from tests.scoring.factories import Place, linear, rows

V1 = {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"}
CANDIDATES = [
    {"version": f"v{n}", "uri": f"{{models}}/v{n}.skops", "candidate": True} for n in (2, 3, 4, 5)
]
MODEL = {"versions": [V1, *CANDIDATES]}
MONTHS = ("2013-02", "2013-03")


@pytest.fixture
def place(empty: Place) -> Place:
    """Two months of ten rows, x = 1 to 10; version n predicts n + 1 times x."""
    for key in MONTHS:
        empty.source(rows(10, shop=["a", "b"] * 5), f"{key}.parquet")
    for n in (1, 2, 3, 4, 5):
        empty.model(linear(slope=n + 1.0), f"v{n}.skops")
    return empty


def publish(place: Place, key: str = "2013-02", **changes: Any) -> None:
    context = place.run(place.job(model=MODEL, **changes), key)
    score_partition(context, {"by": "test"}, workers=1)


def diff(place: Place, *versions: str, key: str = "2013-02", **changes: Any) -> list[VersionDiff]:
    context = place.run(place.job(model=MODEL, **changes), key)
    return diff_versions(context, versions, changes.get("output", {}).get("keep", ()), workers=1)


def state(place: Place) -> dict[str, str]:
    """Every file of the destination and its digest."""
    return {n: hashlib.sha256((place.out / n).read_bytes()).hexdigest() for n in place.files()}


def test_four_candidates_over_two_months_and_nothing_is_published(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    for key in MONTHS:
        publish(place, key)
    before = state(place)
    place.job(model=MODEL)
    arguments = [str(place.folder / "sample.yaml"), "v1", "v2", "v3", "v4", "v5"]
    assert main(["diff", *arguments, "--data", str(place.data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["partition"], one["base"], one["other"]) for one in found] == [
        (key, "v1", f"v{n}") for key in MONTHS for n in (2, 3, 4, 5)
    ]
    # Version n predicts n + 1 times x, so it differs from v1 by (n - 1) * x: 5.5 is the mean of x.
    means = [one["difference"]["mean_change"] for one in found]
    assert means == pytest.approx([5.5, 11.0, 16.5, 22.0] * 2)
    assert [one["difference"]["changed_fraction"] for one in found] == [1.0] * 8
    assert state(place) == before


def test_one_version_is_compared_with_what_is_published(place: Place):
    publish(place)
    (found,) = diff(place, "v3", output={"keep": ["shop"]})
    assert (found.base, found.other) == ("v1", "v3")
    assert found.difference.max_abs_change == pytest.approx(20.0)
    shops = {one.value: one.mean_change for one in found.difference.segments["shop"]}
    assert shops == {"a": pytest.approx(10.0), "b": pytest.approx(12.0)}
    (same,) = diff(place, "v1")
    assert same.difference.changed == 0


def test_two_versions_of_a_month_that_is_not_published(place: Place):
    (found,) = diff(place, "v2", "v4")
    assert found.difference.mean_change == pytest.approx(11.0)
    assert place.files() == []
    with pytest.raises(PublicationError, match="nothing is published for sample 2013-02"):
        diff(place, "v2")


def test_what_is_made_already_is_not_scored_again(place: Place, monkeypatch: pytest.MonkeyPatch):
    scored: list[str] = []

    def counted(context: Any, by: Any, version: str, *rest: Any) -> Any:
        scored.append(version)
        return score_partition(context, by, version, *rest)

    monkeypatch.setattr(version_diff, "score_partition", counted)
    publish(place, challengers=["v3"])
    diff(place, "v1", "v3")
    assert scored == []
    diff(place, "v1", "v3", "v4")
    assert scored == ["v4"]
    # A job that means something else now, and another file of the model, are scored again.
    diff(place, "v1", "v3", inputs={"x": {"type": "float64", "min": 0}})
    assert scored == ["v4", "v1", "v3"]
    place.model(linear(slope=9.0), "v3.skops")
    (found,) = diff(place, "v1", "v3")
    assert scored == ["v4", "v1", "v3", "v3"]
    assert found.difference.mean_change == pytest.approx(7 * 5.5)


def test_all_are_compared_on_the_rows_that_the_source_has_now(place: Place):
    """What was published, and made beside it, is of the source as it was."""
    publish(place, challengers=["v3"])
    place.source(rows(20))
    found = diff(place, "v1", "v3", "v4")
    assert [(one.difference.rows, one.source_changed) for one in found] == [(20, False)] * 2
    (own,) = diff(place, "v1")
    assert (own.difference.rows, own.difference.only_other, own.source_changed) == (10, 10, True)
    (beside,) = diff(place, "v3")
    assert (beside.difference.rows, beside.difference.only_other, beside.source_changed) == (
        10,
        10,
        True,
    )


def test_a_version_beside_its_earlier_self(place: Place):
    truth = pa.table({"id": range(1, 11), "truth": [2.0 * x for x in range(1, 11)]})
    place.source(truth, "truth-2013-02.parquet")
    actuals = {"source": {"uri": "{data}/source/truth-{partition}.parquet"}, "column": "truth"}
    publish(place, actuals=actuals)
    place.model(linear(slope=4.0), "v1.skops")
    (found,) = diff(place, "v1", actuals=actuals)
    assert (found.base, found.other, found.difference.changed) == ("v1", "v1", 10)
    assert found.base_errors["mae"] == pytest.approx(0.0, abs=1e-9)
    assert found.other_errors["mae"] == pytest.approx(11.0)


def test_a_changed_artifact_is_another_model(place: Place):
    place.model(linear(slope=1.0), "more.skops")
    place.scorer(
        "def run(df, model, more):\n"
        "    return df.assign(y=model.predict(df) + more.predict(df))[['y']]\n"
    )
    job: dict[str, Any] = {"scorer": "scorer.py"}
    model = MODEL | {"files": {"more": {"uri": "{models}/more.skops"}}}
    context = place.run(place.job(model=model, **job))
    score_partition(context, {"by": "test"}, workers=1)
    place.model(linear(slope=5.0), "more.skops")
    (found,) = diff_versions(context, ["v1", "v2"], workers=1)
    assert found.difference.mean_change == pytest.approx(5.5)
    (own,) = diff_versions(context, ["v1"], workers=1)
    assert own.difference.mean_change == pytest.approx(4 * 5.5)
    with pytest.raises(VerifyError, match="the artifact more"):
        verify_partition(context, workers=1)


def test_rows_that_one_of_them_lacks_are_in_their_segment(place: Place):
    place.scorer(
        "def run(df, model):\n"
        "    y = [None if v > 25 else v for v in model.predict(df)]\n"
        "    return df.assign(y=y)[['y']]\n"
    )
    job: dict[str, Any] = {
        "scorer": "scorer.py",
        "output": {"keep": ["shop"], "types": {"y": "float64"}},
    }
    publish(place, **job)
    (found,) = diff(place, "v5", **job)
    # Six times x is above 25 from the fifth row on, of which three are of each shop.
    shops = {one.value: (one.rows, one.only_base) for one in found.difference.segments["shop"]}
    assert shops == {"a": (2, 3), "b": (2, 3)}
    assert [one.changed_fraction for one in found.difference.segments["shop"]] == [1.0, 1.0]


def test_a_source_that_has_changed_is_read_for_both(place: Place):
    publish(place)
    place.source(rows(20))
    (found,) = diff(place, "v1", "v3")
    assert (found.difference.rows, found.source_changed) == (20, False)
    (beside_published,) = diff(place, "v3")
    assert (beside_published.difference.rows, beside_published.difference.only_other) == (10, 10)
    assert beside_published.source_changed


def test_errors_against_the_truth_stand_beside_it(place: Place):
    truth = pa.table({"id": range(1, 11), "truth": [4.0 * x for x in range(1, 11)]})
    place.source(truth, "truth-2013-02.parquet")
    actuals = {"source": {"uri": "{data}/source/truth-{partition}.parquet"}, "column": "truth"}
    publish(place, actuals=actuals)
    before = state(place)
    (found,) = diff(place, "v3", actuals=actuals)
    assert found.base_errors["mae"] == pytest.approx(11.0)
    assert found.other_errors["mae"] == pytest.approx(0.0, abs=1e-9)
    assert state(place) == before
    # Those of another month are not known yet.
    publish(place, "2013-03", actuals=actuals)
    (later,) = diff(place, "v3", key="2013-03", actuals=actuals)
    assert (later.base_errors, later.other_errors) == ({}, {})


def test_text_and_numbers_cannot_be_compared(place: Place):
    place.scorer(
        "def run(df, model):\n"
        "    y = model.predict(df)\n"
        "    return df.assign(y=y if y.max() < 25 else 'high')[['y']]\n"
    )
    with pytest.raises(ModelError, match="y is float64 in one, and text in the other"):
        diff(place, "v1", "v5", scorer="scorer.py")


def test_from_the_shell(place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    for key in MONTHS:
        publish(place, key, output={"keep": ["shop"]})
    job, data = str(place.folder / "sample.yaml"), ["--data", str(place.data)]
    assert main(["diff", job, "v3", "--from", "2013-03", "--by", "shop", *data]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "partition",
        "base",
        "other",
        "rows",
        "changed",
        "mean",
        "change",
        "largest",
    ]
    assert lines[1].split() == ["2013-03", "v1", "v3", "10", "100.00%", "11", "20"]
    assert [line.split()[:3] for line in lines[4:]] == [
        ["2013-03", "v3", "a"],
        ["2013-03", "v3", "b"],
    ]
    assert main(["diff", job, "v9", *data]) == 5
    assert "no model version 'v9'" in capsys.readouterr().err
    assert main(["diff", job, "v3", "--by", "x", *data]) == 2
    assert "'x' is not a kept column of sample (output.keep: shop)" in capsys.readouterr().err
    assert main(["diff", job, "v3", "--from", "2013-02", "--to", "2013-04", *data]) == 7
    printed = capsys.readouterr()
    assert "error: sample 2013-04: nothing is published" in printed.err
    assert [line.split()[0] for line in printed.out.splitlines()[1:]] == ["2013-02", "2013-03"]
    assert main(["diff", job, "v3", "--from", "2014-01", *data]) == 0
    assert "nothing to compare with" in capsys.readouterr().out


def test_a_column_of_many_values_makes_no_segments(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    place.source(rows(1500, code=[f"c{i}" for i in range(1500)], shop=["a", "b"] * 750))
    keep = {"output": {"keep": ["code", "shop"]}}
    publish(place, **keep)
    (found,) = diff(place, "v3", **keep)
    assert list(found.difference.segments) == ["shop"]
    arguments = [str(place.folder / "sample.yaml"), "v3", "--by", "code", "--data", str(place.data)]
    assert main(["diff", *arguments]) == 0
    assert "code has too many values" in capsys.readouterr().err


def test_a_published_file_that_is_gone_is_said(place: Place):
    publish(place)
    (place.out / "month=2013-02" / "predictions.parquet").unlink()
    with pytest.raises(PublicationError, match="is gone; score sample 2013-02 again"):
        diff(place, "v3")
