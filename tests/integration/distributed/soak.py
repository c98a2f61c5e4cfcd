"""`make soak`: how many rounds of faults, and where their table is written.

SOAK_ROUNDS and SOAK_SEED say it; without the first, the rounds are those of `make test` and nothing
is written.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"
ROUNDS_OF_TEST = 2
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"


def rounds() -> int:
    return int(os.environ.get("SOAK_ROUNDS", ROUNDS_OF_TEST))


def seed() -> int:
    return int(os.environ.get("SOAK_SEED") or secrets.randbelow(10**6))


def write(table: str, done: int, drawn: int) -> None:
    """Put the table into the page, with the command that made it; after each round, as it may be
    interrupted.
    """
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


def write_readers(where: str, swaps: int, counts: dict[str, dict[str, Any]]) -> None:
    """Put what readers got into the page."""
    if "READERS_SECONDS" not in os.environ:
        return
    lines = [
        "| reader | reads | one version of each month | errors | anything else | its error |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in counts.items():
        of = found["counts"]
        error = found["errors"][0][0].replace("|", " ")[:80] if found["errors"] else ""
        numbers = [sum(of.values()), *(of.get(name, 0) for name in ("ok", "error", "wrong"))]
        lines.append(f"| {kind} | {' | '.join(f'{n:,}' for n in numbers)} | {error} |")
    today = datetime.now(UTC).date()
    table = "\n".join(lines)
    text = f"{where}: {swaps:,} publications of a month by `make soak-readers`, {today}.\n\n{table}"
    begin, end = (f"<!-- readers on {where}: {mark} -->" for mark in ("begin", "end"))
    page = PAGE.read_text()
    pattern = re.compile(f"{begin}.*{end}", re.DOTALL)
    assert pattern.search(page), f"{PAGE} has no place for the table"
    PAGE.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page))
