"""Scales and lines of charts: no value is drawn outside of them, whatever the values are."""

from __future__ import annotations

import sys

import pytest
from scoring_airflow.web.timeline import PLOT, TOP, Scale

LARGEST = sys.float_info.max


@pytest.mark.parametrize("from_zero", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0],
        [5.0, 5.0],
        [-5.0, -5.0],
        [0.0, 1.0],
        [-3.0, 12.0],
        [99.7, 100.1],
        [1e16, 1e16 + 4],
        [-LARGEST, LARGEST],
        [0.0, 5e-324],
        [0.000031, 0.00012],
    ],
)
def test_every_value_has_its_place_between_the_ticks(values: list[float], from_zero: bool) -> None:
    scale = Scale.of(values, from_zero)
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert 2 <= len(scale.ticks) <= 7
    assert all(scale.low <= value <= scale.high for value in values)
    heights = [scale.y(value) for value in sorted(values)]
    assert heights == sorted(heights, reverse=True)
    assert all(TOP <= y <= TOP + PLOT for y in heights)
    assert (scale.ticks[0], scale.ticks[-1]) == (scale.low, scale.high)
    if from_zero:
        assert scale.low <= 0 <= max(scale.high, 0)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 9.3], (0.0, 5.0, 10.0)),
        ([0.011, 0.083], (0.0, 0.05, 0.1)),
        ([97.0, 100.0], (97.0, 98.0, 99.0, 100.0)),
        ([-1.0, 1.0], (-1.0, 0.0, 1.0)),
    ],
)
def test_ticks_are_round(values: list[float], ticks: tuple[float, ...]) -> None:
    assert Scale.of(values, from_zero=False).ticks == pytest.approx(ticks)
