"""Methods of one object, in the place of those of its class, and gone from each copy of it."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from typing import Any

GETSTATE = "__getstate__"


class Method:
    """``function`` as the method ``name`` of ``instance``, with what the class's own says of itself.

    scikit-learn asks a method for its name: whether it returns probabilities, of which it takes a
    column. Pickled, it is the method of the copy, which is that of its class.
    """

    def __init__(self, instance: Any, name: str, function: Callable[..., Any]) -> None:
        theirs = getattr(type(instance), name)
        self.__self__, self._function = instance, function
        self.__name__, self.__qualname__, self.__doc__ = name, theirs.__qualname__, theirs.__doc__
        self.__signature__ = inspect.signature(theirs.__get__(instance))

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._function(self.__self__, *args, **named)

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self.__name__)


def override(instance: Any, methods: Mapping[str, Callable[..., Any]]) -> None:
    """Let ``instance`` have ``methods``, functions that are called with it, as those of a class are.

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

    added: dict[str, Any] = {name: Method(instance, name, of) for name, of in methods.items()}
    added[GETSTATE] = state
    vars(instance).update(added)
