"""Airflow imports this file in each of its processes; it matters in those that fork tasks.

A task is a fork of the scheduler (LocalExecutor) and inherits the modules imported there. Importing pandas, pyarrow and
scikit-learn takes seconds; a task that scores a month takes half a second. So the scheduler imports them once, when
its environment says SCORING_PRELOAD=1. The other processes (API server, Dag processor, triggerer) stay small.

The project's own packages are in the list too, which saves a quarter of a second a month; a change in them reaches
the tasks when the scheduler is restarted. Job files and the scorers that they name are read by each task.
"""

import importlib
import os
import warnings

_MODULES = (
    "airflow.sdk.execution_time.supervisor",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.bundles.local",
    "airflow.providers.standard.operators.python",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.definitions.connection",
    "airflow.api_fastapi.auth.tokens",
    "pandas",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "skops.io",
    "narwhals.stable.v2",
    "scoring.pipeline.extract",
    "scoring.pipeline.score",
    "scoring.pipeline.publish",
    "scoring.models.skops",
    "scoring.sources.parquet",
    "scoring.destinations.parquet",
    "scoring_airflow",
)


def _preload() -> None:
    # skops looks for its functions in every loaded module, and Airflow's deprecated ones warn on access: thousands
    # of irrelevant lines.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in _MODULES:
            importlib.import_module(module)
        # scikit-learn asks narwhals what a frame is, which imports the answer for pandas at the first question.
        frame = importlib.import_module("pandas").DataFrame()
        importlib.import_module("narwhals.stable.v2").from_native(frame)


if os.environ.get("SCORING_PRELOAD") == "1":
    _preload()

# Airflow takes every public name of this file as a setting; this file has none.
__all__: list[str] = []
