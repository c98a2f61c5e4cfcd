"""Reads UBJSON, in which XGBoost writes models (https://ubjson.org), of version 9 to 12."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

DEPTH = 64
NUMBERS = {"i": "b", "U": "B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}
"""The marker of each type of number, and its format."""
_CONSTANTS = {"T": True, "F": False, "Z": None}


def parse_ubjson(data: bytes) -> Any:
    """Return what ``data`` says, arrays of numbers as lists; ValueError where it is malformed."""
    reader = _Reader(data)
    found = reader.value(reader.marker(), 0)
    if reader.at != len(data):
        raise ValueError("something follows its end")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def _take(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self._data):
            raise ValueError("it is cut off")
        self.at += size
        return self._data[self.at - size : self.at]

    def marker(self) -> str:
        return self._take(1).decode("latin-1")

    def _number(self, marker: str) -> Any:
        if marker not in NUMBERS:
            raise ValueError(f"{marker!r} where a number should be")
        form = NUMBERS[marker]
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self, marker: str) -> str:
        size = self._number(marker)
        if not isinstance(size, int):
            raise ValueError("a text whose length is not an integer")
        return self._take(size).decode()

    def value(self, marker: str, depth: int) -> Any:
        if depth > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")
        if marker in NUMBERS:
            return self._number(marker)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == "S":
            return self._text(self.marker())
        if marker == "C":
            return self.marker()
        if marker == "[":
            return self._array(depth)
        if marker == "{":
            return self._object(depth)
        raise ValueError(f"{marker!r} where a value should be")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (marker := self.marker()) != "}":
            name = self._text(marker)
            if name in found:
                raise ValueError(f"{name!r} twice")
            found[name] = self.value(self.marker(), depth + 1)
        return found

    def _array(self, depth: int) -> list[Any]:
        marker, kind = self.marker(), None
        if marker == "$":
            kind, marker = self.marker(), self.marker()
            if kind not in NUMBERS or marker != "#":
                raise ValueError("an array of a type or length that cannot be read")
        if marker == "#":
            size = self._number(self.marker())
            if not isinstance(size, int) or size < 0:
                raise ValueError("an array whose length is not a number")
            if kind is not None:
                dtype = np.dtype(NUMBERS[kind])
                numbers: list[Any] = np.frombuffer(
                    self._take(size * dtype.itemsize), dtype
                ).tolist()
                return numbers
            if size > len(self._data) - self.at:
                raise ValueError("an array that is longer than the file")
            return [self.value(self.marker(), depth + 1) for _ in range(size)]
        found = []
        while marker != "]":
            found.append(self.value(marker, depth + 1))
            marker = self.marker()
        return found
