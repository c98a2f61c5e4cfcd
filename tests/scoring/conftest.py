from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.scoring.factories import Place, rows

# A shared machine can be slow for a moment; that is no failure.  CI tries the same examples each
# time, so that a change is judged by itself; everyone else tries new ones.
hypothesis.settings.register_profile(
    "scoring", deadline=None, max_examples=30, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("scoring")


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    """A folder for a job, without source or model."""
    return Place(tmp_path)


@pytest.fixture
def place(empty: Place) -> Place:
    """A folder with ten good rows for the month of the sample job, and its model."""
    empty.source(rows(10))
    empty.model()
    return empty


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that nobody can reach, too, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="scoring-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
