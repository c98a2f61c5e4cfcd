"""How many bytes an array in joblib's files has, by the type and shape that its pickle gives."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from scoring.models.inspection.found import BrokenPickleError, Global, Made

NESTED = 8
"""How deep types may lie in fields of types."""


def array_size(shape: Iterable[Any], dtype: Any) -> int:
    """Return the bytes of an array of ``shape``; BrokenPickleError where the type does not say."""
    count = 1
    for length in shape:
        count *= int(length)
    return count * _item_size(dtype)


def _type_text(dtype: Any) -> str:
    if not isinstance(dtype, Made) or dtype.maker != Global("numpy", "dtype"):
        raise BrokenPickleError("an array whose type cannot be read")
    text = dtype.args[0]
    if not isinstance(text, str) or not re.fullmatch(r"[<>|=]?[A-Za-z]\d{0,9}", text):
        raise BrokenPickleError(f"an array of the type {str(text)[:40]!r}")
    return text


def _item_size(dtype: Any) -> int:
    import numpy as np

    size = int(np.dtype(_type_text(dtype)).itemsize)
    if len(dtype.state or ()) > 5 and dtype.state[5] not in (-1, size):
        raise BrokenPickleError("an array whose values have another size than their type")
    return size


def has_objects(dtype: Any, depth: int = 0) -> bool:
    """Return whether values of a type are objects, or have fields that are."""
    if depth > NESTED:
        raise BrokenPickleError("an array whose type cannot be read")
    found = _type_text(dtype).lstrip("<>|=").startswith("O")
    state = dtype.state if isinstance(dtype.state, tuple) else ()
    if len(state) > 2 and isinstance(state[2], tuple):
        found |= has_objects(state[2][0], depth + 1)
    fields = state[4] if len(state) > 4 and isinstance(state[4], dict) else {}
    found |= any(has_objects(of_field[0], depth + 1) for of_field in fields.values())
    if len(state) > 7 and bool(state[7] & 1) != found:
        raise BrokenPickleError("an array that says of itself whether it has objects, and is wrong")
    return found
