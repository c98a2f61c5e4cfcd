"""Real environments of older Pythons, built once for all tests of a process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scoring.models.base import EnvironmentSpec
from scoring.models.environment import interpreters
from scoring.models.environment.build import FOLDER, Environment, environment_of

RELEASES = {"3.9": ("1.0.2", "1.2.2"), "3.8": ("1.0.2", "1.2.2"), "3.10": ("1.0.2", "1.2.2")}
"""scikit-learn releases that have wheels for a Python; others have what is newest there."""


@dataclass(frozen=True)
class Old:
    """An environment with an old scikit-learn, as a job file says it."""

    config: dict[str, Any]
    sklearn: str
    environment: Environment

    def run(self, code: str, *arguments: str) -> str:
        """Run ``code`` with that Python: the process that trains a model, or predicts by itself."""
        done = subprocess.run(
            [self.environment.python, "-c", code, *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def oldest_python() -> str:
    """Python 3.9, else the oldest one of this machine that a child can run on."""
    there = [
        f"3.{minor}"
        for minor in sorted(interpreters._minors())
        if minor >= 8 and interpreters._asked_any(f"3.{minor}")
    ]
    python = "3.9" if "3.9" in there else there[0]
    print(f"Pythons here: {', '.join(there)}; the environments have {python}")
    return python


@pytest.fixture(scope="session")
def python() -> str:
    return oldest_python()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all environments, for this process and those it starts."""
    folder = tmp_path_factory.mktemp("environments")
    before = os.environ.get(FOLDER)
    os.environ[FOLDER] = str(folder)
    yield folder
    os.environ.pop(FOLDER)
    if before is not None:
        os.environ[FOLDER] = before


@pytest.fixture(scope="session")
def old(cache: Path, python: str) -> Old:
    """scikit-learn 1.0.2, on Python 3.9 where that is."""
    return _old(python, 0)


@pytest.fixture(scope="session")
def newer(cache: Path, python: str) -> Old:
    """scikit-learn 1.2.2."""
    return _old(python, 1)


def _old(python: str, which: int) -> Old:
    line = f"scikit-learn=={RELEASES[python][which]}" if python in RELEASES else "scikit-learn"
    environment = environment_of(
        EnvironmentSpec(python=python, requirements=line, timeout_seconds=60)
    )
    config = {"python": python, "requirements": [line], "timeout_seconds": 60}
    return Old(config, environment.packages["scikit-learn"], environment)


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
