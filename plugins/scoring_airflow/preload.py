"""Import this module to import all that a task needs, once, in the process that forks tasks.

A task of the LocalExecutor or of a Celery worker is a fork and inherits the modules of its parent.
Importing pandas, pyarrow and scikit-learn takes seconds; a task that scores a month takes half a
second. The other processes (API server, Dag processor, triggerer) stay small.

The plugin imports it in the scheduler; a Celery worker does so if its Celery configuration says
``{"imports": ["scoring_airflow.preload"]}``. The project's own packages are in the list, too, which
saves a quarter of a second a task. A change in them reaches the tasks when the process is
restarted. Job files and the scorers that they name are read by each task.

Tasks also inherit the scheduling policy, which lets them end without a delay.
"""

import contextlib
import importlib
import warnings

from scoring_airflow.batch_policy import adopt_batch_policy

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
    "scoring.pipeline.extract",
    "scoring.pipeline.score",
    "scoring.pipeline.publish",
    "scoring.models.skops",
    "scoring.sources.parquet",
    "scoring.destinations.parquet",
    "scoring_airflow.loader",
    "scoring_airflow.backoff",
)


def _preload() -> None:
    # skops looks for its functions in every loaded module, and Airflow's deprecated ones warn on
    # access: thousands of irrelevant lines.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in _MODULES:
            # Which of them exist depends on the releases that are installed.
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        # scikit-learn asks narwhals what a frame is, which imports the answer for pandas at the
        # first question.
        with contextlib.suppress(ImportError):
            frame = importlib.import_module("pandas").DataFrame()
            importlib.import_module("narwhals.stable.v2").from_native(frame)
    # What the manifest says of the code is of the code that is loaded here, even if another one is
    # installed before the task runs.
    from scoring.destinations.manifest import code_version, package_versions

    code_version()
    package_versions()


_preload()
adopt_batch_policy()
