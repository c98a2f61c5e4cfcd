"""The base of the sections of a job file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

from pydantic import BaseModel, ConfigDict

from scoring.registry import Registry

Loc = tuple[str | int, ...]
"""A place in a job: a path of keys and list positions."""

Problem = tuple[Loc, str]
"""Where in the job, and what is wrong there."""


class Section(BaseModel):
    """Base of the sections of a job file: unknown keys are mistakes, text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def check_kind(registry: Registry, name: str, hidden: tuple[str, ...] = ()) -> str:
    """``name`` itself; ValueError unless it is a kind in ``registry``, and not a ``hidden`` one."""
    if name in registry and name not in hidden:
        return name
    known = [kind for kind in registry.names() if kind not in hidden]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"{name!r} is not allowed; it may be {', '.join(known)}{hint}")


def problems_of(check: Callable[[str], object], field: str, value: str) -> Iterator[Problem]:
    """What ``check`` has against the value of ``field``, for a check that depends on other fields."""
    try:
        check(value)
    except ValueError as error:
        yield (field,), str(error)
