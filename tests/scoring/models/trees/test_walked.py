"""A threshold of 64 bits, as one of 32 bits that decides as it does."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.models.trees import walked
from scoring.models.trees.ensemble import Ensemble, Tree, UnsupportedError
from scoring.models.trees.walked import Walked, at_most_32


def test_a_32_bit_threshold_decides_as_the_64_bit_one() -> None:
    random = np.random.default_rng(1)
    near = random.normal(size=500).astype(np.float32)
    sides = [near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))]
    special = np.array([0.0, -0.0, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45], dtype=np.float32)
    x = np.concatenate([*sides, special])
    wide = np.concatenate([x.astype(np.float64), [1e300, -1e300, 1e-300, -1e-300, 3.5e38, -3.5e38]])
    for threshold in (wide, np.nextafter(wide, np.inf), np.nextafter(wide, -np.inf)):
        narrow = at_most_32(threshold)
        expected = x[:, None].astype(np.float64) <= threshold[None, :]
        assert np.array_equal(x[:, None] <= narrow[None, :], expected)


def test_a_tree_that_is_too_large_for_its_links(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = np.array([1, -1, -1]), np.array([2, -1, -1])
    zeros = np.zeros(3)
    tree = Tree(left, right, zeros.astype(int), zeros, zeros.astype(bool), zeros.reshape(3, 1))
    ensemble = Ensemble([tree], columns=9)  # whose numbers take four bits
    Walked(ensemble, None)
    monkeypatch.setattr(walked, "MOST_LINK_BITS", 5)
    with pytest.raises(UnsupportedError, match="a tree has 3 nodes"):
        Walked(ensemble, None)
