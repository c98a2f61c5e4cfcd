"""Small trees as tables: for each rank of a feature, the leaves in which a row can still end.

This is QuickScorer (Lucchese et al., SIGIR 2015) with the comparisons replaced by one look-up for
each feature of a tree.  The leaves of a tree are numbered from left to right, each with a bit of a
mask.  A node at which a row goes right excludes the leaves below its left child; what all nodes
leave over begins with the leaf in which the row ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scoring.models.trees.compiled import kernels
from scoring.models.trees.ensemble import Ensemble, Floats, Rows, Tree, frozen
from scoring.models.trees.scales import OF_NAN, Scales

MOST_LEAVES = 64
RANKS = 256
MOST_TABLE_BYTES = 128 << 20
"""Beyond, the memory is worth more; such an ensemble is walked."""


class Ranked:
    """``ensemble`` as tables over ``scales``."""

    block_rows: int | None = None

    def __init__(self, ensemble: Ensemble, scales: Scales) -> None:
        leaves = 32 if max(tree.leaves for tree in ensemble.trees) <= 32 else MOST_LEAVES
        dtype = np.dtype(f"uint{leaves}")
        values = np.zeros((len(ensemble.trees), leaves, ensemble.width))
        starts, of_scales, tables = [0], [], [np.empty(0, dtype)]
        for number, tree in enumerate(ensemble.trees):
            found, of_leaves = _tables(tree, scales, dtype)
            values[number, : len(of_leaves)] = of_leaves
            of_scales += list(found)
            tables += found.values()
            starts.append(len(of_scales))
        self._compiled = kernels().Ranked(
            *scales.buffers,
            frozen(starts, np.uint32),
            frozen(of_scales, np.uint32),
            frozen(np.concatenate(tables), dtype),
            ensemble.outputs,
            frozen(values.ravel(), np.float64),
            ensemble.columns,
            ensemble.width,
        )

    def add(self, x: Rows, out: Floats) -> None:
        """Add the values of all trees for ``x`` to ``out``."""
        self._compiled.add(x, out)


def fits_tables(ensemble: Ensemble) -> bool:
    """Return whether ``ensemble`` has trees that are small enough for tables."""
    most = max(tree.leaves for tree in ensemble.trees)
    tables = sum(len(np.unique(tree.feature[tree.inner])) for tree in ensemble.trees)
    return most <= MOST_LEAVES and tables * RANKS * (4 if most <= 32 else 8) <= MOST_TABLE_BYTES


def _tables(tree: Tree, scales: Scales, dtype: np.dtype[Any]) -> tuple[dict[int, Any], Floats]:
    """Return a table for each scale that ``tree`` uses, and the values of its leaves in order."""
    first, after, order = _leaves_below(tree)
    scale, place = scales.places(tree)
    tables: dict[int, Any] = {}
    for node in np.flatnonzero(tree.inner):
        left = tree.left[node]
        below = ((1 << (after[left] - first[left])) - 1) << first[left]
        others = dtype.type(~below & ((1 << 8 * dtype.itemsize) - 1))
        table = tables.setdefault(int(scale[node]), np.full(RANKS, ~dtype.type(0)))
        table[place[node] + 1 : OF_NAN] &= others
        if not tree.missing_left[node]:
            table[OF_NAN] &= others
    return dict(sorted(tables.items())), tree.values[order]


def _leaves_below(tree: Tree) -> tuple[list[int], list[int], list[int]]:
    """Return of each node the numbers of the leaves below it, from and to, and the leaves in order."""
    size = len(tree.left)
    first, after = [0] * size, [0] * size
    order: list[int] = []
    waiting = [(0, False)]
    while waiting:
        node, seen = waiting.pop()
        if seen:
            after[node] = len(order)
            continue
        first[node] = len(order)
        if tree.left[node] < 0:
            order.append(node)
            after[node] = len(order)
            continue
        waiting += [(node, True), (int(tree.right[node]), False), (int(tree.left[node]), False)]
    return first, after, order
