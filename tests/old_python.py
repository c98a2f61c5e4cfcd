"""Real environments of older Pythons, and models that were made in them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scoring.models.base import EnvironmentSpec
from scoring.models.environment import interpreters
from scoring.models.environment.build import Environment, environment_of

RELEASES = {"3.9": ("1.0.2", "1.2.2"), "3.8": ("1.0.2", "1.2.2"), "3.10": ("1.0.2", "1.2.2")}
"""scikit-learn releases that have wheels for a Python; others have what is newest there."""

_PREDICT = """
import sys, joblib, numpy as np, pandas as pd
model, rows, out, method, *columns = sys.argv[1:]
np.save(out, getattr(joblib.load(model), method)(pd.read_parquet(rows)[columns]))
"""

# The threads with which an old pyarrow has read a file may still be there when Python takes itself
# apart, which then aborts ("terminate called without an active exception") although all is done.
_END = """
import os, sys
sys.stdout.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class Old:
    """An environment with an old scikit-learn, as a job file says it."""

    config: dict[str, Any]
    sklearn: str
    environment: Environment

    def run(self, code: str, *arguments: str) -> str:
        """Run ``code`` with that Python: the process that trains a model, or predicts by itself."""
        done = subprocess.run(
            [self.environment.python, "-c", code + _END, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def predictions(
        self, model: Path, rows: Path, columns: Sequence[str], out: Path, method: str = "predict"
    ) -> Any:
        """What the model predicts in a process of its own, without any of our code.

        ``rows`` is a Parquet file; ``out`` is written.
        """
        self.run(_PREDICT, str(model), str(rows), str(out), method, *columns)
        return np.load(out)


@cache
def oldest_python() -> str:
    """Python 3.9, else the oldest one of this machine that a child can run on."""
    there = [
        f"3.{minor}"
        for minor in sorted(interpreters._minors())
        if minor >= 8 and interpreters._asked_any(f"3.{minor}")
    ]
    python = "3.9" if "3.9" in there else there[0]
    if python != "3.9":
        warnings.warn(
            f"there is no Python 3.9 here: environments of tests have {python}", stacklevel=2
        )
    return python


def old_environment(which: int = 0) -> Old:
    """The one of RELEASES that ``which`` says, below ``$SCORING_ENVIRONMENTS``; built once."""
    python = oldest_python()
    line = f"scikit-learn=={RELEASES[python][which]}" if python in RELEASES else "scikit-learn"
    environment = environment_of(
        EnvironmentSpec(python=python, requirements=line, timeout_seconds=60)
    )
    config = {"python": python, "requirements": [line], "timeout_seconds": 60}
    return Old(config, environment.packages["scikit-learn"], environment)


SMALL_INPUTS = {"delay": {"type": "float64"}, "flight": {"type": "int64"}}
"""What the model of ``train_small`` predicts with: columns of ``small_job``'s flights."""

_TRAIN_SMALL = """
import sys, joblib, numpy as np, pandas as pd
from sklearn.ensemble import GradientBoostingRegressor
random = np.random.RandomState(0)
x = pd.DataFrame({"delay": random.randint(0, 60, 500) * 1.0, "flight": random.randint(0, 2500, 500)})
y = x.delay * 3 + np.sin(x.flight / 100)
joblib.dump(GradientBoostingRegressor(random_state=0, n_estimators=50).fit(x, y), sys.argv[1])
"""


def train_small(path: Path) -> None:
    """Make a pickle of the old scikit-learn, which predicts delays of ``small_job``'s flights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old_environment().run(_TRAIN_SMALL, str(path))


def small_version(path: Path, **environment: Any) -> dict[str, Any]:
    """The model version of a pickle in ``{models}``; ``environment`` is added to its environment."""
    return {
        "version": "old",
        "uri": f"{{models}}/{path.name}",
        "in_force_from": "2013-02",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "environment": old_environment().config | environment,
    }


def assert_own_digits(published: bytes, model: Path, flights: Path, folder: Path) -> int:
    """Assert that a month's predictions have the digits of the model's own process.

    ``flights`` are the month's rows; files are written to ``folder``.  Returns the number of rows
    that were compared.
    """
    source = pq.read_table(flights)
    complete = source.filter(pc.is_valid(source["delay"]))
    rows = folder / f"complete-{flights.name}"
    pq.write_table(complete, rows)
    own = old_environment().predictions(model, rows, [*SMALL_INPUTS], folder / "own.npy")
    found = pq.read_table(io.BytesIO(published))
    assert found["flight"].equals(complete["flight"])
    assert np.array_equal(found["predicted_delay"].to_numpy(), own)
    return len(own)
