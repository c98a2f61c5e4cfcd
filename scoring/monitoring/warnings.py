"""What a partition is published with, but somebody should know of: its warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def constant_output(name: str, figures: Mapping[str, Any]) -> str | None:
    """Return what to say if all predictions of a column, with the ``figures`` of the manifest, are
    one value.
    """
    count, classes = figures["count"], figures.get("classes", {})
    if count < 2:
        return None
    if len(classes) == 1:
        value = repr(next(iter(classes)))
    elif "min" in figures and figures["min"] == figures["max"]:
        value = f"{figures['min']:g}"
    else:
        return None
    return (
        f"constant_prediction: all {count:,} values of {name!r} are {value}. Does the model get "
        "the features that it was trained with, under their names?"
    )
