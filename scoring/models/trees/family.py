"""What the modules of the families of ensembles share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_
from typing import Any, Protocol

from scoring.models.trees.ensemble import Floats, Rows
from scoring.models.trees.exact import Add

Methods = dict[str, Callable[..., Any]]
"""What takes the place of an estimator's methods, by name; each is called with the estimator."""


class Adds(Protocol):
    """``ExactTrees``, as the methods that use it see it."""

    def takes(self, x: Any, out: Any) -> bool: ...

    def add(self, x: Rows, out: Floats, threads: int, own: Add) -> None: ...


def same_objects(some: Iterable[Any], others: Sequence[Any]) -> bool:
    """Return whether ``some`` are the very trees ``others``: none was fitted, added or replaced since."""
    found = list(some)
    return len(found) == len(others) and all(map(is_, found, others))


def openmp_threads() -> int:
    """Return how many threads scikit-learn's own loops may have here."""
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    return int(_openmp_effective_n_threads())
