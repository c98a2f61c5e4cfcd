"""`make soak`: how many rounds of faults, and where their table is written.

SOAK_ROUNDS and SOAK_SEED say it; without the first, the rounds are those of `make test` and nothing is written.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"
ROUNDS_OF_TEST = 2
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"


def rounds() -> int:
    return int(os.environ.get("SOAK_ROUNDS", ROUNDS_OF_TEST))


def seed() -> int:
    return int(os.environ.get("SOAK_SEED") or secrets.randbelow(10**6))


def write(table: str, done: int, drawn: int) -> None:
    """Put the table into the page, with the command that made it; after each round, as it may be interrupted."""
    if "SOAK_ROUNDS" not in os.environ:
        return
    today = datetime.now(UTC).date()
    command = f"make soak ROUNDS={rounds()} SEED={drawn}"
    machine = f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    text = f"{done} rounds of `{command}`, {today}, {machine}:\n\n{table}"
    page = PAGE.read_text()
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    assert pattern.search(page), f"{PAGE} has no place for the table"
    PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page))
