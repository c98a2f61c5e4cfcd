"""What is found in a pickle without executing it, and stand-ins for what it would make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Global:
    """What the pickle names, by the module that would be imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


COMPUTED = Global("(computed)", "")
"""A name that the pickle makes of parts, or a function that a call returned: what it is shows only
when it is executed."""


@dataclass
class Made:
    """A stand-in for what a call would return."""

    maker: Any
    args: Any
    state: Any = None


@dataclass
class Found:
    """What was found up to ``broken``: where, and why, the pickle cannot be read; None at its end.

    ``imported`` counts how often each is named, ``called`` how often it is called, ``built`` how often
    an instance is given a state. ``inside`` is the number of texts of bytes that begin as a pickle
    does, ``persistent`` that of references to objects outside of the file.
    """

    imported: Counter[Global] = field(default_factory=Counter)
    called: Counter[Global] = field(default_factory=Counter)
    built: Counter[Global] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)
    inside: int = 0
    persistent: int = 0
    pickles: int = 0
    broken: str | None = None


class BrokenPickleError(ValueError):
    """A pickle that cannot be followed any further."""
