"""What the modules of the families of ensembles share."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from scoring.models.trees.ensemble import Floats, Rows
from scoring.models.trees.exact import Add

Methods = dict[str, Callable[..., Any]]
"""What takes the place of an estimator's methods, by name."""


class Adds(Protocol):
    """``ExactTrees``, as the methods that use it see it."""

    def takes(self, x: Any, out: Any) -> bool: ...

    def add(self, x: Rows, out: Floats, threads: int, own: Add) -> None: ...


def referred(model: Any) -> Callable[[], Any]:
    """Return what returns ``model``, which has to be there when a method of it is called."""
    return weakref.ref(model)


def openmp_threads() -> int:
    """Return how many threads scikit-learn's own loops may have here."""
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    return int(_openmp_effective_n_threads())
