"""An alert of a job: one of Airflow's notifiers, by import path, with its arguments.

What is imported, and whether it is a notifier, is decided where Airflow is
(``scoring_airflow.notifications``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from scoring.job.section import Loc, Problem, Section
from scoring.job.shorthand import shown

SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|(api|access|private)_?key|credential|webhook|authorization",
    re.IGNORECASE,
)
REFERENCE = re.compile(r"conn(ection)?(_id)?$", re.IGNORECASE)


Event = Literal["failed", "late", "held", "drift", "stale"]


class AlertConfig(Section):
    """A notification that is sent when something happens to a run of the job."""

    notifier: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$",
            description="The import path of a class derived from Airflow's `BaseNotifier`.",
        ),
    ]
    arguments: Annotated[
        dict[str, JsonValue],
        Field(description="Keyword arguments of the class. Strings are Jinja templates."),
    ] = {}
    # Not "on", which is true in YAML.
    when: Annotated[
        list[Event],
        Field(
            min_length=1,
            description="What it is sent for: [when alerts are sent](#when-alerts-are-sent).",
        ),
    ] = ["failed", "late", "held"]

    def problems(self) -> Iterator[Problem]:
        """Report arguments with the name of a secret, and numbers that Airflow cannot store."""
        for loc, value in _within(self.arguments):
            name = loc[-1]
            if isinstance(name, str) and SECRET.search(name) and not REFERENCE.search(name):
                yield (
                    ("arguments", *loc),
                    "looks like a secret, which does not belong in a job file; store it in an "
                    "Airflow connection, and pass the connection's id to the notifier",
                )
            if not isinstance(value, int | float):
                continue
            if not math.isfinite(value) or abs(value) >= 1 << 63:
                yield ("arguments", *loc), f"{shown(value)} is a number that Airflow cannot store"


def _within(value: JsonValue) -> Iterator[tuple[Loc, JsonValue]]:
    """Iterate over all nested values with their locations."""
    items: list[tuple[str | int, JsonValue]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for step, inner in items:
        yield (step,), inner
        yield from (((step, *rest), deeper) for rest, deeper in _within(inner))
