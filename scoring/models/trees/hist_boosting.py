"""HistGradientBoosting: the trees of all iterations, added to the raw predictions."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from scoring.models.trees.ensemble import Ensemble, Floats, Rows, Tree, UnsupportedError
from scoring.models.trees.exact import Add
from scoring.models.trees.family import Adds, Methods, same_objects

DTYPE = np.float64


def read(model: Any) -> Ensemble:
    """Return the trees of ``model``; UnsupportedError where one splits by categories."""
    trees = [
        _tree(predictor.nodes, output)
        for iteration in model._predictors
        for output, predictor in enumerate(iteration)
    ]
    return Ensemble(trees, int(model._n_features))


def _tree(nodes: Any, output: int) -> Tree:
    if nodes["is_categorical"].any():
        raise UnsupportedError("it has splits by categories")
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=nodes["right"].astype(np.int64),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=nodes["value"].astype(np.float64).reshape(-1, 1),
        output=output,
    )


def own(model: Any) -> Add:
    """Return scikit-learn's own additions for ``model``, in this thread: in a fork, OpenMP would wait
    for threads that it had before.
    """

    def add(x: Rows, out: Floats) -> None:
        type(model)._predict_iterations(model, x, model._predictors, out, False, n_threads=1)

    return add


def methods(model: Any, exact: Adds) -> Methods:
    """Return what takes the place of methods of ``model``, by name."""
    trees = [*chain.from_iterable(model._predictors)]

    def _predict_iterations(
        self: Any,
        X: Any,
        predictors: Any,
        raw_predictions: Any,
        is_binned: bool,
        n_threads: int,
    ) -> None:
        # Else it predicts by stages, is being fitted, or has other trees by now.
        usable = not is_binned and same_objects(chain.from_iterable(predictors), trees)
        if usable and exact.takes(X, raw_predictions):
            exact.add(X, raw_predictions, n_threads, own(self))
        else:
            type(self)._predict_iterations(
                self, X, predictors, raw_predictions, is_binned, n_threads
            )

    return {"_predict_iterations": _predict_iterations}
