"""The tree that scikit-learn's decision trees have, in forests and in gradient boosting."""

from __future__ import annotations

from typing import Any

import numpy as np

from scoring.models.trees.ensemble import Tree, UnsupportedError


def read_tree(estimator: Any, output: int = 0) -> Tree:
    """Return the tree of the fitted ``estimator``, which adds to the outputs from ``output`` on.

    Raises UnsupportedError for several targets at once, and for trees that these releases of
    scikit-learn do not make.
    """
    tree = estimator.tree_
    if tree.n_outputs != 1:
        raise UnsupportedError(f"it predicts {tree.n_outputs} targets at once")
    nodes, values = tree.__getstate__()["nodes"], tree.value
    if values.dtype != np.float64 or values.shape[:2] != (len(nodes), 1):
        raise UnsupportedError("its trees have values of another shape")
    left = nodes["left_child"].astype(np.int64)
    return Tree(
        left=np.where(left < 0, -1, left),
        right=nodes["right_child"].astype(np.int64),
        feature=nodes["feature"].astype(np.int64),
        threshold=nodes["threshold"].astype(np.float64),
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=values[:, 0, :].copy(),
        output=output,
    )
