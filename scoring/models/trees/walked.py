"""Large trees as nodes of eight bytes, down which sixteen rows walk side by side.

The nodes stand level by level, siblings beside each other: a node has the place of its left child,
and the right one is the next.  A leaf leads to itself.  A row waits for memory at each step, and
sixteen rows wait together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scoring.models.trees.compiled import kernels
from scoring.models.trees.ensemble import (
    Ensemble,
    Flags,
    Floats,
    Rows,
    Tree,
    UnsupportedError,
    Whole,
    frozen,
    levels,
)
from scoring.models.trees.scales import Scales

BLOCK_ROWS = 65_536
"""All rows of a block go down one tree before the next: the tree stays in the processor's cache."""


MOST_LINK_BITS = 31
"""Of a link, for the number of a node and that of a feature."""


class Walked:
    """``ensemble`` as nodes that compare ranks on ``scales``, or without them 32-bit floats."""

    block_rows: int | None = BLOCK_ROWS

    def __init__(self, ensemble: Ensemble, scales: Scales | None) -> None:
        columns = len(scales.features) if scales else ensemble.columns
        bits = max(1, (columns - 1).bit_length())
        nodes, values, depths = [], [], []
        for tree in ensemble.trees:
            of_levels = [*levels(tree)]
            order = np.concatenate(of_levels)
            nodes.append(_nodes(tree, order, scales, bits))
            values.append(tree.values[order])
            depths.append(len(of_levels) - 1)
        self._scales = scales.buffers if scales else None
        self._compiled = kernels().Walked(
            frozen(np.concatenate(nodes), np.uint64),
            frozen(np.cumsum([0, *map(len, nodes)]), np.uint32),
            frozen(depths, np.uint32),
            ensemble.outputs,
            frozen(np.concatenate(values).ravel(), np.float64),
            bits,
            columns,
            ensemble.width,
        )

    def add(self, x: Rows, out: Floats) -> None:
        """Add the values of all trees for ``x`` to ``out``."""
        if self._scales is None:
            floats = np.ascontiguousarray(x)
        else:
            floats = np.empty((len(x), len(self._scales[0])), dtype=np.float32)
            kernels().ranks(x, *self._scales, floats)
        self._compiled.add(floats, out)


def _nodes(tree: Tree, order: Whole, scales: Scales | None, bits: int) -> npt.NDArray[np.uint64]:
    """Return the nodes of ``tree`` in ``order``, each a threshold and a link in eight bytes."""
    size = len(order)
    if size > 1 << (MOST_LINK_BITS - bits):
        raise UnsupportedError(f"a tree has {size:,} nodes")
    place_of = np.empty(size, dtype=np.int64)
    place_of[order] = np.arange(size)
    inner: Flags = tree.inner[order]
    if scales:
        feature, rank = scales.places(tree)
        threshold = np.where(np.isposinf(tree.threshold), np.inf, rank).astype(np.float32)
    else:
        feature, threshold = tree.feature, at_most_32(tree.threshold)
    left = np.where(inner, place_of[tree.left[order]], np.arange(size))
    missing_left = np.where(inner, tree.missing_left[order], True)
    node = np.empty(size, dtype=[("threshold", np.float32), ("link", np.uint32)])
    node["threshold"] = np.where(inner, threshold[order], np.inf)
    node["link"] = (
        (left << (bits + 1)) | (missing_left.astype(np.int64) << bits)
        | np.where(inner, feature[order], 0)
    )  # fmt: skip
    return node.view(np.uint64)


def at_most_32(values: Floats) -> npt.NDArray[np.float32]:
    """Return the largest 32-bit floats that are not above ``values``.

    A 32-bit float is at most one of ``values`` exactly where it is at most this.
    """
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float32)
    lower = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > values, lower, nearest)
