"""The ensembles of trees that a model is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, np.generic)


def ensembles_in(model: Any, kinds: tuple[type, ...]) -> Iterator[Any]:
    """Yield each object of one of ``kinds`` in ``model``, once.

    Looked at are containers, and the attributes of whatever predicts or is scikit-learn's own. The
    trees of an ensemble are its own matter.
    """
    seen: dict[int, Any] = {}  # the objects, so that none of them gives its id to another one
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if isinstance(one, _PLAIN) or id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, kinds):
            yield one
            waiting.append(getattr(one, "init_", None))  # gradient boosting begins with it
        else:
            waiting += reversed([*_parts(one)])


def _parts(one: Any) -> Iterable[Any]:
    if isinstance(one, dict):
        return one.values()
    if isinstance(one, list | tuple | set | frozenset):
        return one
    if isinstance(one, np.ndarray):
        return one.ravel().tolist() if one.dtype == object else ()
    kind = type(one)
    of_sklearn = kind.__module__.partition(".")[0] == "sklearn"
    if of_sklearn or callable(getattr(kind, "predict", None)) or hasattr(kind, "get_params"):
        return getattr(one, "__dict__", {}).values()
    return ()
