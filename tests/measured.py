"""Commands of this package in processes of their own, of which ``make test`` measures the coverage."""

from __future__ import annotations

import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[1]


def module(*arguments: str) -> list[str]:
    """The command that runs a module; where coverage is measured, in that process too.

    What it measures lies beside the data of the tests, and is combined with them at the end.
    """
    if coverage.Coverage.current() is None:
        return [sys.executable, "-m", *arguments]
    measured = (
        f"--rcfile={ROOT / 'pyproject.toml'}",
        f"--data-file={ROOT / '.run' / 'coverage' / 'data'}",
        "--parallel-mode",
    )
    return [sys.executable, "-m", "coverage", "run", *measured, "-m", *arguments]
