"""The thresholds of each feature, in order: a row's ranks among them decide as its numbers do.

The rank of a number is how many thresholds are less than it, so that it is at most a threshold
exactly where its rank is at most the threshold's own place.  A rank is a byte, 255 that of NaN:
there are at most 254 thresholds.  scikit-learn's histograms have no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring.models.trees.ensemble import Ensemble, Floats, Tree, Whole, frozen

MOST_THRESHOLDS = 254
OF_NAN = 255


@dataclass(frozen=True)
class Scales:
    """Of each feature that a tree asks for, its thresholds; +inf is after the last one."""

    features: list[int]
    thresholds: list[Floats]

    @property
    def buffers(self) -> tuple[Any, Any, Any]:
        """The features, where the thresholds of each begin, and all thresholds: filled up with +inf
        to 2^n - 1 for each, as they are halved.
        """
        filled = [_filled(values) for values in self.thresholds]
        starts = np.cumsum([0, *map(len, filled)])
        values = np.concatenate([np.empty(0), *filled])
        return (
            frozen(self.features, np.uint32),
            frozen(starts, np.uint32),
            frozen(values, np.float64),
        )

    def places(self, tree: Tree) -> tuple[Whole, Whole]:
        """Return of each node the scale of its feature, and the place of its threshold there."""
        scale = np.searchsorted(self.features, tree.feature)
        scale[~tree.inner] = -1
        place = np.zeros(len(scale), dtype=np.int64)
        for number in np.unique(scale[tree.inner]):
            nodes = scale == number
            place[nodes] = np.searchsorted(self.thresholds[number], tree.threshold[nodes])
        return scale, place


def scales_of(ensemble: Ensemble) -> Scales | None:
    """Return the scales of ``ensemble``; None where a feature has too many thresholds."""
    found = {feature: values[values < np.inf] for feature, values in thresholds_of(ensemble)}
    if any(len(values) > MOST_THRESHOLDS for values in found.values()):
        return None
    return Scales([*found], [*found.values()])


def thresholds_of(ensemble: Ensemble) -> Iterator[tuple[int, Floats]]:
    """Yield each feature that a tree asks for, and its distinct thresholds in order."""
    features = np.concatenate([tree.feature[tree.inner] for tree in ensemble.trees])
    thresholds = np.concatenate([tree.threshold[tree.inner] for tree in ensemble.trees])
    order = np.argsort(features, kind="stable")
    used, starts = np.unique(features[order], return_index=True)
    ends = [*starts[1:], len(order)]
    for feature, start, end in zip(used, starts, ends[: len(used)], strict=True):
        yield int(feature), np.unique(thresholds[order[start:end]])


def _filled(thresholds: Floats) -> npt.NDArray[np.float64]:
    size = (1 << len(thresholds).bit_length()) - 1
    return np.concatenate([thresholds, np.full(size - len(thresholds), np.inf)])
