"""Ensembles of trees by code of our own, and by scikit-learn's, in one process with one thread."""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from threadpoolctl import threadpool_limits

from scoring.models.trees.attach import attach
from scoring.models.trees.exact import difference

ROWS = 262_144
TRAINING_ROWS = 60_000
COLUMNS = 10
SEED = 28


def run(pairs: int) -> dict[str, object]:
    """Predict the same rows with each model in turn, ``pairs`` times; return times and ratios."""
    random = np.random.default_rng(SEED)
    x, y = _training(random)
    boosted = HistGradientBoostingRegressor(max_leaf_nodes=31, max_iter=100, early_stopping=False)
    boosted.fit(_with_nulls(x, random), y)
    forest = RandomForestRegressor(100, max_depth=20, random_state=SEED, n_jobs=-1).fit(x, y)
    forest.n_jobs = 1
    rows = random.normal(size=(ROWS, COLUMNS))
    with threadpool_limits(1):
        return {
            "rows": ROWS,
            "hist_gradient_boosting": _compared(boosted, _with_nulls(rows, random), pairs),
            "forest": _compared(forest, rows.astype(np.float32), pairs),
        }


def _training(random: np.random.Generator) -> tuple[Any, Any]:
    x = random.normal(size=(TRAINING_ROWS, COLUMNS))
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + x[:, 3] ** 2 + 0.2 * x[:, 4:].sum(axis=1)
    return x, y + 0.3 * random.normal(size=TRAINING_ROWS)


def _with_nulls(x: Any, random: np.random.Generator) -> Any:
    return np.where(random.random(x.shape) < 0.05, np.nan, x)


def _compared(model: Any, x: Any, pairs: int) -> dict[str, object]:
    """Return the times of ``model`` as it is and attached; they have to predict the same bits."""
    own = pickle.loads(pickle.dumps(model))
    started = time.perf_counter()
    statuses = [one.status for one in attach(model)]
    attaching = time.perf_counter() - started
    if statuses != ["exact"]:
        raise SystemExit(f"error: {statuses}")
    expected, found = own.predict(x), model.predict(x)  # the first rows are compared besides
    if difference(found.reshape(-1, 1), expected.reshape(-1, 1)):
        raise SystemExit("error: the predictions differ")
    measured = [(_seconds(own.predict, x), _seconds(model.predict, x)) for _ in range(pairs)]
    ratios = [of_sklearn / ours for of_sklearn, ours in measured]
    return {
        "attaching_seconds": round(attaching, 3),
        "sklearn_seconds": [round(of_sklearn, 3) for of_sklearn, _ in measured],
        "our_seconds": [round(ours, 3) for _, ours in measured],
        "times_as_fast": {
            "median": round(statistics.median(ratios), 2),
            "all": sorted(round(ratio, 2) for ratio in ratios),
        },
    }


def _seconds(predict: Callable[[Any], Any], x: Any) -> float:
    started = time.perf_counter()
    predict(x)
    return time.perf_counter() - started
