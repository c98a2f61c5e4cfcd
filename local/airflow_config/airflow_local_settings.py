"""Airflow imports this file in each of its processes; it matters in those that fork tasks.

A task is a fork of the scheduler (LocalExecutor) and inherits the modules imported there. Importing pandas, pyarrow and
scikit-learn takes seconds; a task that scores a month takes half a second. So the scheduler imports them once, when
its environment says SCORING_PRELOAD=1. The other processes (API server, Dag processor, triggerer) stay small.
"""

import importlib
import os
import warnings

_MODULES = (
    "pandas",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "skops.io",
)


def _preload() -> None:
    # skops looks for its functions in every loaded module, and Airflow's deprecated ones warn when they are looked at:
    # thousands of lines that concern nobody.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in _MODULES:
            importlib.import_module(module)


if os.environ.get("SCORING_PRELOAD") == "1":
    _preload()

# Airflow takes every public name of this file for a setting of its own; there is none.
__all__: list[str] = []
