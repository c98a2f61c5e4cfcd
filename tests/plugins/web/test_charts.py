"""Pictures: lengths are in proportion, nothing is invisible, and each says in words what it shows."""

from __future__ import annotations

import itertools

import pytest
from scoring_airflow.web import charts
from scoring_airflow.web.formats import figure, percent
from scoring_airflow.web.rendering import _environment

from scoring.monitoring.accuracy import CalibrationBin
from scoring.monitoring.histogram import Bin, Histogram

RANGES = Histogram(
    [Bin("0 to 1", 10, 30, 0.0, 1.0), Bin("1 to 2", 40, 10, 1.0, 2.0), Bin("null", 0, 10)], 50, 50
)


def own(drawing: charts.Drawing) -> list[charts.Rect]:
    return [rect for rect in drawing.rects if rect.kind == "own"]


def test_columns_are_as_high_as_their_shares() -> None:
    drawing = charts.distribution(RANGES, "delay", "2013-02")
    low, high, null = own(drawing)
    assert high.height == pytest.approx(4 * low.height)
    assert null.height == 0
    (outline,) = (path for path in drawing.paths if path.kind == "reference")
    assert outline.d.count("L") == 2 * 3 + 1  # up, over and down again
    assert drawing.title == "delay against 2013-02"
    assert drawing.description == (
        "Most rows, 80\u202f%, have 1 to 2; of 2013-02 most, 60\u202f%, have 0 to 1."
    )
    hits = [rect.title for rect in drawing.rects if rect.kind == "hit"]  # wide, to be pointed at
    assert hits[1] == "1 to 2: 40 rows, 80\u202f%; 2013-02: 10 rows, 20\u202f%"
    assert [text.text for text in drawing.texts if text.kind.startswith("label")][-1] == "null"


def test_without_a_reference_nothing_is_outlined() -> None:
    alone = Histogram([Bin("a", 3, 0), Bin("b" * 50, 1, 0)], 4, 0)
    drawing = charts.distribution(alone, "carrier", None)
    first, second = own(drawing)
    assert first.width == pytest.approx(3 * second.width)
    assert not [path for path in drawing.paths if path.kind == "reference"]
    assert max(len(text.text) for text in drawing.texts) <= 17


def test_nothing_at_all_is_drawn_as_such() -> None:
    drawing = charts.distribution(Histogram([], 0, 0), "x", None)
    assert drawing.description == "There are no values."
    assert charts.flow(0, [charts.Branch("scored", "scored", 0)], "Rows").rects


def test_every_way_of_rows_is_seen_and_labels_do_not_meet() -> None:
    branches = [
        charts.Branch("scored", "scored", 9_999_990),
        charts.Branch("quarantined", "null_row_id", 9),
        charts.Branch("quarantined", "infinite: x", 1),
        charts.Branch("left-out", "cancelled", 0),
    ]
    drawing = charts.flow(10_000_000, branches, "Rows")
    nodes = [rect for rect in drawing.rects if rect.kind != "node in"]
    assert len(nodes) == 3
    assert min(node.height for node in nodes) >= 2
    names = [text.y for text in drawing.texts if text.kind == "label name"][:3]
    assert all(after - before >= 30 for before, after in itertools.pairwise(names))
    assert drawing.height >= max(text.y for text in drawing.texts)
    assert "9,999,990 scored; 9 null_row_id; 1 infinite: x" in drawing.description


def test_a_perfect_calibration_lies_on_the_diagonal() -> None:
    bins = [
        CalibrationBin(at_least=p, below=p + 0.1, rows=10, predicted=p, actual=p)
        for p in (0.1, 0.5, 0.9)
    ]
    drawing = charts.calibration(bins, "p_yes")
    sums = {round(dot.x + dot.y, 6) for dot in drawing.dots}
    assert len(sums) == 1
    assert charts.calibration([], "p_yes").description == "There are no rows."


def test_a_line_has_gaps_where_there_is_no_value() -> None:
    drawing = charts.sparkline([1.0, 2.0, None, 3.0, 4.0], "RMSE")
    assert drawing.paths[0].d.count("M") == 2
    (last,) = drawing.dots
    assert last.y == 4.0  # the top, as it is the largest
    assert drawing.description == "From 1 to 4, last 4."
    assert charts.sparkline([], "RMSE").description == "There are none."


def test_what_is_drawn_is_escaped() -> None:
    hostile = '"><script>alert(1)</script>\u202e'
    found = charts.distribution(Histogram([Bin(hostile, 1, 0)], 1, 0), hostile, None)
    template = '{% from "_charts.html" import drawing %}{{ drawing(d, "id") }}'
    svg = _environment().from_string(template).render(d=found)
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert 'role="img" aria-labelledby="id-t id-d"' in svg


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "0 %"),
        (1e-6, "<0.1 %"),
        (0.5, "50 %"),
        (0.1234, "12.3 %"),
        (1.0, "100 %"),
        (0.9999, ">99.9 %"),
        (None, "–"),
    ],
)
def test_shares_in_percent(share: float | None, said: str) -> None:
    assert percent(share).replace("\u202f", " ") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (1200, "1,200"),
        (0.8014159, "0.8014"),
        (123456.7, "123,457"),
        (1e12, "1e+12"),
        (-3.0, "-3"),
    ],
)
def test_figures(value: float | None, said: str) -> None:
    assert figure(value) == said
