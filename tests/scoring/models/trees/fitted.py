"""Small ensembles of all kinds, and the comparison of what they predict bit by bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from sklearn import ensemble

from scoring.models.trees.attach import Attached, attach
from scoring.models.trees.exact import difference

COLUMNS = 5

KINDS = (
    "HistGradientBoostingRegressor",
    "HistGradientBoostingClassifier",
    "GradientBoostingRegressor",
    "GradientBoostingClassifier",
    "RandomForestRegressor",
    "RandomForestClassifier",
    "ExtraTreesRegressor",
    "ExtraTreesClassifier",
)


def numbers(random: np.random.Generator, rows: int, missing: float = 0.0) -> Any:
    """Rows in which some values come often, so that thresholds are met, and some are missing."""
    x = random.normal(size=(rows, COLUMNS))
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = random.choice([0.0, -0.0, 1.0, -1.0, 1e-300, 3e38], size=rows)
    x[random.random(x.shape) < missing] = np.nan
    return x


def fitted(kind: str, rows: int = 200, seed: int = 0, missing: float = 0.0, **options: Any) -> Any:
    """A model of the class ``kind``; a classifier has three classes."""
    random = np.random.default_rng(seed)
    x = numbers(random, rows, missing)
    y = np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, 1]) + random.normal(size=rows)
    target = np.digitize(y, [-0.7, 0.7]) if "Classifier" in kind else y
    size = "max_iter" if kind.startswith("Hist") else "n_estimators"
    options = {size: 5, "random_state": seed} | options
    return getattr(ensemble, kind)(**options).fit(x, target)


def copied(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


def outputs(model: Any, x: Any) -> Any:
    """All that ``model`` says of ``x``, as numbers."""
    if hasattr(model, "predict_proba"):
        return np.column_stack([model.predict_proba(x), model.predict(x).astype(float)])
    return model.predict(x).reshape(-1, 1)


def assert_same_bits(found: Any, expected: Any) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert difference(found, expected) is None


def attached(model: Any) -> list[Attached]:
    """Attach ``model``, all of whose ensembles have to be exact."""
    found = attach(model)
    assert found
    assert [one.status for one in found] == ["exact"] * len(found)
    return found
