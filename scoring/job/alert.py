"""An alert of a job: one of Airflow's notifiers, by import path, with its arguments.

What is imported, and whether it is a notifier, is decided where Airflow is (``scoring_airflow.notifications``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, JsonValue

from scoring.job.section import Loc, Problem, Section
from scoring.job.shorthand import shown

_SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|(api|access|private)_?key|credential|webhook|authorization",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"conn(ection)?(_id)?$", re.IGNORECASE)


class AlertConfig(Section):
    """Who is told when a run of the job has failed or is late."""

    notifier: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$")]
    arguments: dict[str, JsonValue] = {}

    def problems(self) -> Iterator[Problem]:
        """Each argument that is a secret by its name, or a number that cannot be stored."""
        for loc in _places(self.arguments):
            name = str(loc[-1])
            if _SECRET.search(name) and not _REFERENCE.search(name):
                yield (
                    ("arguments", *loc),
                    "is a secret by its name, and a job file is no place for one; put it in an "
                    "Airflow connection and give the notifier the connection's id",
                )
        for loc, number in _numbers(self.arguments):
            if not math.isfinite(number) or abs(number) >= 1 << 63:
                yield ("arguments", *loc), f"{shown(number)} is not a number that Airflow can store"


def _numbers(value: JsonValue) -> Iterator[tuple[Loc, float]]:
    """The place and the value of each number in ``value``, however deep."""
    items: list[tuple[str | int, JsonValue]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for step, inner in items:
        if isinstance(inner, int | float) and not isinstance(inner, bool):
            yield (step,), inner
        yield from (((step, *rest), number) for rest, number in _numbers(inner))


def _places(value: JsonValue) -> Iterator[Loc]:
    """The place of each key of a mapping in ``value``, however deep."""
    items: list[tuple[str | int, JsonValue]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for step, inner in items:
        if isinstance(value, dict):
            yield (step,)
        yield from ((step, *rest) for rest in _places(inner))
