"""The base of the sections of a job file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

from pydantic import BaseModel, ConfigDict

from scoring.registry import Registry

Loc = tuple[str | int, ...]
"""A location in a job: a path of keys and list indexes."""

Problem = tuple[Loc, str]
"""The location of an error, and its message."""


class Section(BaseModel):
    """Base of the sections of a job file: no unknown keys, no conversion between types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def check_kind(
    registry: Registry, name: str, hidden: tuple[str, ...] = (), more: tuple[str, ...] = ()
) -> str:
    """Return ``name``; raise ValueError unless it is a kind in ``registry`` that is not ``hidden``,
    or one of ``more``.
    """
    known = [kind for kind in (*registry.names(), *more) if kind not in hidden]
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"{name!r} is not allowed; valid values: {', '.join(known)}{hint}")


def problems_of(check: Callable[[str], object], field: str, value: str) -> Iterator[Problem]:
    """Report the ValueError of ``check`` for the value of ``field``."""
    try:
        check(value)
    except ValueError as error:
        yield (field,), str(error)
