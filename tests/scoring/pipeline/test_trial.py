"""``scoring try``: what becomes of single rows, as in the published month, with nothing published."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from scoring.cli.main import main
from scoring.errors import ModelError, ScorerError, SourceMissingError
from scoring.pipeline.trial import try_rows
from tests.scoring.factories import MONTH, Place, linear, predictions, quarantine, rows, run_steps

DERIVED = {
    "source": {"derive": {"x": "raw / 3.0"}},
    "leave_out": {"too_small": "x < 1"},
}


@pytest.fixture
def derived(empty: Place) -> Place:
    """Eight rows with an ``x`` that is derived: one without, one left out, one repeated id."""
    ids = [1, 2, 3, 4, 4, 6, 7, 8]
    raw = [7.0, None, 1.0, 10.0, 11.0, 22.0, 23.0, 29.0]
    empty.source(rows(8, id=ids, raw=raw).drop_columns("x"))
    empty.model(linear(slope=1 / 7))
    empty.job(**DERIVED)
    return empty


def in_folder(place: Place) -> list[str]:
    return ["--jobs", str(place.folder), "--data", str(place.data)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_row_is_as_the_run_publishes_it(derived: Place):
    run = derived.run(derived.job(**DERIVED))
    found = try_rows(run, 8)
    assert not derived.out.exists()
    manifest = run_steps(run)
    published = predictions(manifest).to_pylist()
    scored = [row for row in found.rows if row.status == "scored"]
    assert [row.ids["id"] for row in scored] == [row["id"] for row in published] == [1, 4, 6, 7, 8]
    assert [row.outputs["y"] for row in scored] == [row["y"] for row in published]  # to the bit
    quarantined = [row for row in found.rows if row.status == "quarantined"]
    assert [(row.row, row.reason, row.column, row.value) for row in quarantined] == [
        tuple(row[name] for name in ("row", "reason", "column", "value"))
        for row in sorted(quarantine(manifest).to_pylist(), key=lambda row: row["row"])
    ]
    assert [(row.row, row.reason) for row in quarantined] == [
        (2, "missing_value"),
        (5, "duplicate_row_id"),
    ]
    left_out = [(row.row, row.reason) for row in found.rows if row.status == "left_out"]
    assert left_out == [(3, "too_small")]


def test_every_row_has_what_was_read_and_what_was_derived(derived: Place):
    found = try_rows(derived.run(derived.job(**DERIVED)), 3)
    assert [row.inputs for row in found.rows] == [{"raw": 7.0}, {"raw": None}, {"raw": 1.0}]
    assert [row.derived for row in found.rows] == [{"x": 7 / 3}, {"x": None}, {"x": 1 / 3}]
    assert [sorted(row.outputs) for row in found.rows] == [["y"], [], []]


def test_a_scorers_own_reason_and_columns_are_shown(place: Place):
    code = (
        "def run(df):\n"
        "    out = df.assign(y=df.x * 2, label='a')[['y', 'label']]\n"
        "    return out.assign(left_out=['odd' if x % 2 else None for x in df.x])\n"
    )
    found = try_rows(place.run(place.job(scorer=place.scorer(code))), 3)
    assert [(row.status, row.reason) for row in found.rows] == [
        ("left_out", "odd"),
        ("scored", None),
        ("left_out", "odd"),
    ]
    assert found.rows[1].outputs == {"y": 4.0, "label": "a"}


def test_outputs_have_the_types_that_are_published_so_far(place: Place):
    whole = "def run(df):\n    return df.x.astype('int64').to_frame('y')"
    job = place.job(scorer=place.scorer(whole), output={"types": {"y": "float64"}})
    run_steps(place.run(job))
    place.source(rows(4), "2013-03.parquet")
    found = try_rows(place.run(place.job(scorer=place.scorer(whole)), "2013-03"), 1)
    assert type(found.rows[0].outputs["y"]) is float


def test_rows_without_a_key_are_known_by_their_number(place: Place):
    found = try_rows(place.run(place.job(row_id="row_number")), 2)
    assert [(row.row, row.ids) for row in found.rows] == [(1, {}), (2, {})]
    assert [row.outputs["y"] for row in found.rows] == pytest.approx([2.0, 4.0])


def test_a_month_of_fewer_rows_gives_what_there_is(place: Place):
    place.source(rows(3))
    assert len(try_rows(place.run(), 50).rows) == 3
    place.source(rows(3).slice(0, 0))
    assert try_rows(place.run(), 50).rows == []


def test_errors_are_those_of_a_run(place: Place):
    with pytest.raises(SourceMissingError, match="2013-03"):
        try_rows(place.run(key="2013-03"), 5)
    with pytest.raises(ModelError, match="no model version 'v9'"):
        try_rows(place.run(), 5, "v9")
    failing = place.job(scorer=place.scorer("def run(df):\n    return df['absent']"))
    with pytest.raises(ScorerError, match="absent"):
        try_rows(place.run(failing), 5)


def test_the_command_shows_rows_reasons_and_times(
    derived: Place, capsys: pytest.CaptureFixture[str]
):
    before = files(derived.folder)
    assert main(["try", "sample", MONTH, *in_folder(derived), "--rows", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "row 1  id=1  scored"
    assert lines[1:3] == ["  inputs   raw=7.0", "  derived  x=2.3333333333333335"]
    assert lines[3].startswith("  outputs  y=0.333")
    assert lines[4] == "row 2  id=2  quarantined: missing_value in x"
    assert "row 3  id=3  left out: too_small" in lines
    assert "3 rows checked and scored in" in lines[-1]
    assert "ms a row" in lines[-1]
    assert lines[-1].endswith("Nothing was published")
    assert files(derived.folder) == before


def test_by_default_five_rows_and_as_json_values_keep_their_bits(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    x = [0.1, 1e300, float("nan"), 4.0, 5.0, 6.0]
    at = pd.date_range("2013-02-01", periods=6).to_list()
    place.source(rows(6, x=x, at=at))
    code = place.scorer("def run(df):\n    return df.x.fillna(-1.5).to_frame('y')")
    place.job(
        inputs={"x": {"type": "float64", "nullable": True}}, output={"keep": ["at"]}, scorer=code
    )
    assert main(["try", "sample", MONTH, *in_folder(place), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["job"], document["partition"]) == ("sample", MONTH)
    assert document["seconds"] > 0
    assert len(document["rows"]) == 5
    assert [row["outputs"]["y"] for row in document["rows"]] == [0.1, 1e300, -1.5, 4.0, 5.0]
    assert document["rows"][2]["inputs"]["x"] == "nan"
    assert document["rows"][0]["inputs"]["at"] == "2013-02-01 00:00:00"


def test_a_version_can_be_named(place: Place, capsys: pytest.CaptureFixture[str]):
    place.model(linear(5.0), "v2.skops")
    versions = [
        {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": MONTH},
        {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-05"},
    ]
    place.job(model={"versions": versions})
    command = ["try", "sample", MONTH, *in_folder(place), "--rows", "1", "--json"]
    assert main([*command, "--model-version", "v2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"]["version"] == "v2"
    assert document["rows"][0]["outputs"]["y"] == pytest.approx(5.0)


def test_control_characters_of_the_data_do_not_reach_the_terminal(
    place: Place, capsys: pytest.CaptureFixture[str]
):
    place.source(rows(1, id=["\x1b[2J"], note=["\x1b[31m"]))
    place.job(output={"keep": ["note"]})
    assert main(["try", "sample", MONTH, *in_folder(place)]) == 0
    assert "\x1b" not in capsys.readouterr().out
