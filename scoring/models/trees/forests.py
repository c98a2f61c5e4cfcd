"""Random forests and extra trees: the mean of the trees' values.

With ``n_jobs`` other than 1, scikit-learn adds the trees in the order in which its threads end, so
that the last bits of its own sums differ from call to call.  Here the order is that of one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scoring.models.trees.ensemble import Ensemble, Floats, Rows, UnsupportedError
from scoring.models.trees.exact import Add
from scoring.models.trees.family import Adds, Methods, openmp_threads, same_objects
from scoring.models.trees.sklearn_trees import read_tree

DTYPE = np.float32


def read(model: Any) -> Ensemble:
    """Return the trees of ``model``: of a classifier with a value for each class."""
    if model.n_outputs_ != 1:
        raise UnsupportedError(f"it predicts {model.n_outputs_} targets at once")
    ensemble = Ensemble([read_tree(tree) for tree in model.estimators_], int(model.n_features_in_))
    if ensemble.trees and ensemble.width != getattr(model, "n_classes_", 1):
        raise UnsupportedError("its trees have another number of values than it has classes")
    return ensemble


def own(model: Any) -> Add:
    """Return scikit-learn's own additions for ``model``, as those of ``n_jobs=1``."""
    method = _method(model)

    def add(x: Rows, out: Floats) -> None:
        for tree in model.estimators_:
            out += getattr(tree, method)(x, check_input=False).reshape(out.shape)

    return add


def methods(model: Any, exact: Adds) -> Methods:
    """Return what takes the place of methods of ``model``, by name."""
    name, trees = _method(model), list(model.estimators_)

    def predict(self: Any, X: Any) -> Any:
        if not same_objects(self.estimators_, trees):  # it has other ones by now
            return getattr(type(self), name)(self, X)
        x = self._validate_X_predict(X)
        out = np.zeros((x.shape[0], getattr(self, "n_classes_", 1)))
        if not exact.takes(x, out):
            return getattr(type(self), name)(self, X)
        exact.add(x, out, openmp_threads(), own(self))
        out /= len(trees)
        return out if name == "predict_proba" else out[:, 0]

    return {name: predict}


def _method(model: Any) -> str:
    return "predict_proba" if hasattr(model, "n_classes_") else "predict"
