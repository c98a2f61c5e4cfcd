"""Rows that meet an ensemble where it could go wrong: at its thresholds, and beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from scoring.models.trees.ensemble import Ensemble, Rows
from scoring.models.trees.scales import thresholds_of

ROWS = 512
SEED = 28


def made_rows(ensemble: Ensemble, dtype: np.dtype[Any]) -> Rows:
    """Return rows for ``ensemble``, the same ones each time.

    Of a feature that a tree asks for, three values of four lie at one of its thresholds or next to
    it; the others are missing, infinite, zeros of both signs, small or huge.
    """
    random = np.random.default_rng(SEED)
    x: npt.NDArray[Any] = random.choice(_special(dtype), size=(ROWS, ensemble.columns))
    for feature, thresholds in thresholds_of(ensemble):
        with np.errstate(over="ignore"):
            at = random.choice(thresholds, size=ROWS).astype(dtype)
        side = random.choice(np.array([-np.inf, np.nan, np.inf], dtype=dtype), size=ROWS)
        near = np.where(np.isnan(side), at, np.nextafter(at, side))
        x[:, feature] = np.where(random.random(ROWS) < 0.75, near, x[:, feature])
    return x


def _special(dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    huge = np.finfo(dtype).max
    values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, huge, -huge, 1e-30, 0.5]
    return np.array(values, dtype=dtype)
