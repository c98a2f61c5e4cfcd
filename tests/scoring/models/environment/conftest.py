"""Environments of older Pythons, and model versions that say so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.old_python import Old, old_environment, oldest_python


@pytest.fixture(scope="session")
def python() -> str:
    return oldest_python()


@pytest.fixture(scope="session")
def old(environments: Path) -> Old:
    """scikit-learn 1.0.2, on Python 3.9 where that is."""
    return old_environment(0)


@pytest.fixture(scope="session")
def newer(environments: Path) -> Old:
    """scikit-learn 1.2.2."""
    return old_environment(1)


@pytest.fixture
def version(empty: Any) -> Callable[..., dict[str, Any]]:
    """Make the model version of a file that lies in the place's models."""

    def made(old: Old, name: str = "old.pkl", **environment: Any) -> dict[str, Any]:
        data = (empty.data / "models" / name).read_bytes()
        return {
            "version": "v1",
            "uri": f"{{models}}/{name}",
            "in_force_from": "2013-02",
            "sha256": hashlib.sha256(data).hexdigest(),
            "environment": json.loads(json.dumps(old.config)) | environment,
        }

    return made
