"""Methods of one object, in the place of those of its class, and gone from each copy of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

GETSTATE = "__getstate__"


def override(instance: Any, methods: Mapping[str, Callable[..., Any]]) -> None:
    """Let ``instance`` have ``methods``, which hold no reference to it.

    Copies and pickles of it have those of its class: what Python asks for the state of an object is
    one of these methods, and leaves them out.
    """
    reference: Callable[[], Any] = weakref.ref(instance)

    def state() -> Any:
        one = reference()
        kind: Any = type(one)
        found = kind.__getstate__(one)
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if key not in added}
        return found

    added = {**methods, GETSTATE: state}
    vars(instance).update(added)
