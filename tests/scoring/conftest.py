from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.s3_server import BUCKET
from tests.scoring.factories import Place, linear, rows

# A shared machine can be slow for a moment; that is not a failure.  CI tries the same examples each
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


@pytest.fixture
def lake(s3: Any, empty: Place) -> Place:
    """2,500 rows of the month and two models, in the bucket under ``lake`` and the same on disk."""
    empty.source(rows(2500, note=["a", "b", "c", "d", "e"] * 500), row_group_size=700)
    empty.model()
    empty.model(linear(slope=3.0), "v2.skops")
    empty.model(linear(slope=4.0), "v3.skops")
    for path in empty.data.rglob("*.*"):
        s3.upload_file(str(path), BUCKET, f"lake/{path.relative_to(empty.data)}")
    return empty


@pytest.fixture
def single_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give models the rows as they are, not in whole blocks: for models that return fixed values."""
    monkeypatch.setattr("scoring.engine.BLOCK_ROWS", 1)
