"""GradientBoosting: the trees of all stages, each times the learning rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from scoring.models.trees.ensemble import Ensemble, Floats, Rows
from scoring.models.trees.exact import Add
from scoring.models.trees.family import Adds, Methods, openmp_threads, same_objects
from scoring.models.trees.sklearn_trees import read_tree

DTYPE = np.float32


def read(model: Any) -> Ensemble:
    """Return the trees of ``model``, whose values are multiplied as scikit-learn does for each row:
    a double times a double.
    """
    trees = [
        read_tree(estimator, output)
        for stage in model.estimators_
        for output, estimator in enumerate(stage)
    ]
    scale = float(model.learning_rate)
    # Its comparison sends NaN to the right, wherever missing values went in training.
    scaled = [
        replace(
            tree,
            values=scale * tree.values,
            missing_left=np.zeros_like(tree.missing_left),
        )
        for tree in trees
    ]
    return Ensemble(scaled, int(model.n_features_in_))


def own(model: Any) -> Add:
    """Return scikit-learn's own additions for ``model``."""
    from sklearn.ensemble._gradient_boosting import predict_stages

    def add(x: Rows, out: Floats) -> None:
        predict_stages(model.estimators_, x, model.learning_rate, out)

    return add


def methods(model: Any, exact: Adds) -> Methods:
    """Return what takes the place of methods of ``model``, by name."""
    estimators, scale = [*model.estimators_.flat], model.learning_rate

    def _raw_predict(self: Any, X: Any) -> Any:
        if not same_objects(self.estimators_.flat, estimators) or self.learning_rate != scale:
            return type(self)._raw_predict(self, X)  # it has other trees by now
        out = self._raw_predict_init(X)
        add = own(self)
        if exact.takes(X, out) and X.flags.c_contiguous:
            exact.add(X, out, openmp_threads(), add)
        else:
            add(X, out)
        return out

    return {"_raw_predict": _raw_predict}
