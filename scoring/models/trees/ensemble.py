"""What an ensemble of trees is, whichever class of scikit-learn it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[Any]
"""A row for each row that is scored: 32-bit or 64-bit floats."""


class UnsupportedError(Exception):
    """These trees cannot be evaluated here; the message says why."""


@dataclass(frozen=True)
class Tree:
    """The nodes of one tree; the first one is the root.

    A row goes to ``left`` where its ``feature`` is at most the ``threshold``, or missing and
    ``missing_left``; else to ``right``.  A leaf has -1 as its ``left``, and in ``values`` what the
    tree adds to its outputs, from the number ``output`` on.
    """

    left: Whole
    right: Whole
    feature: Whole
    threshold: Floats
    missing_left: Flags
    values: Floats
    output: int = 0

    @property
    def inner(self) -> Flags:
        """Which nodes have children."""
        return self.left >= 0

    @property
    def leaves(self) -> int:
        return int((~self.inner).sum())


@dataclass(frozen=True)
class Ensemble:
    """Trees that are evaluated one after the other, for rows of so many ``columns``."""

    trees: list[Tree]
    columns: int

    @property
    def width(self) -> int:
        """How many outputs a tree adds to."""
        return int(self.trees[0].values.shape[1])

    @property
    def outputs(self) -> npt.NDArray[np.uint32]:
        """Of each tree, the first output that it adds to."""
        outputs: npt.NDArray[np.uint32] = frozen([tree.output for tree in self.trees], np.uint32)
        return outputs

    def check(self) -> None:
        """Raise UnsupportedError for what no tree of scikit-learn should be."""
        if not self.trees:
            raise UnsupportedError("it has no trees")
        for tree in self.trees:
            if tree.values.shape[1] != self.width:
                raise UnsupportedError("its trees have different numbers of values")
            inner, size = tree.inner, len(tree.left)
            children = np.concatenate([tree.left[inner], tree.right[inner]])
            features = tree.feature[inner]
            if (
                not np.array_equal(np.sort(children), np.arange(1, size))
                or ((features < 0) | (features >= self.columns)).any()
                or np.isnan(tree.threshold[inner]).any()
            ):
                raise UnsupportedError("a tree has nodes that do not make one")


def frozen(values: Any, dtype: Any) -> Any:
    """Return an array of ``values`` that cannot be changed, as the compiled part needs it: where they
    are such an array already, this one.
    """
    array = np.ascontiguousarray(values, dtype=dtype)
    array.setflags(write=False)
    return array


def levels(tree: Tree) -> Iterator[Whole]:
    """Yield the nodes of each level, from the root on; siblings stand beside each other."""
    level = np.zeros(1, dtype=np.int64)
    while len(level):
        yield level
        parents = level[tree.left[level] >= 0]
        level = np.stack([tree.left[parents], tree.right[parents]], axis=1).ravel()
