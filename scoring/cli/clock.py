"""The clock: the one place of this package that reads it, for commands that are given no moment."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """Return an option's moment; UTC where it has no offset."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a moment such as 2014-01-02T03:00Z"
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def current() -> datetime:
    """Return the moment that it is."""
    return datetime.now(UTC)


def at(moment: datetime) -> datetime:
    """Return ``moment``: a clock that stands."""
    return moment


def now_or(given: datetime | None) -> datetime:
    """Return the moment that is given, else that of the clock."""
    return given or current()
