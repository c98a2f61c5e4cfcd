"""A small job made of real parts: flights of a few months, two models, a job file.

Everything about it is known by construction, so that tests can say what has to come out.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MONTHS = {"2013-02": 2500, "2013-03": 1200, "2013-04": 1000}
"""The rows of each month; every NULL_EVERYth has no delay and cannot be scored."""

NULL_EVERY = 50

SLOPES = {"v1": 2.0, "v2": 3.0}
"""A model version predicts this many times the delay, and nothing else."""

JOB: dict[str, Any] = {
    "name": "small_flights",
    "description": "Arrival delay of a few flights.",
    "owner": "analytics",
    "tags": ["flights"],
    "schedule": "0 3 2 * *",
    "timezone": "UTC",
    "start": "2013-02",
    "end": "2013-04",
    "source": {"uri": "{data}/flights/{partition}.parquet"},
    "row_id": ["flight"],
    "inputs": {"delay": {"type": "float64"}},
    "model": {
        "versions": [
            {"version": "v1", "uri": "{models}/v1.skops", "in_force_from": "2013-02"},
            {"version": "v2", "uri": "{models}/v2.skops", "in_force_from": "2013-04"},
        ]
    },
    "output": {"prediction": "predicted_delay"},
    "destination": {"uri": "{data}/predictions/small_flights"},
    "checks": {"max_quarantined_fraction": 0.1},
    "run": {"shard_rows": 1000, "retries": 2, "retry_delay_seconds": 0.01},
}


def rows_quarantined(month: str) -> int:
    return MONTHS[month] // NULL_EVERY


def write_data(folder: Path) -> None:
    """The flights of MONTHS and the models of SLOPES, where JOB looks for them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn.linear_model import LinearRegression

    (folder / "flights").mkdir()
    for month, rows in MONTHS.items():
        delay = [None if i % NULL_EVERY == 0 else float(i % 60) for i in range(1, rows + 1)]
        table = pa.table({"flight": range(1, rows + 1), "delay": pa.array(delay, pa.float64())})
        pq.write_table(table, folder / "flights" / f"{month}.parquet")
    with warnings.catch_warnings():
        # skops looks at every name of every loaded module, and Airflow's deprecated ones warn.
        warnings.simplefilter("ignore")
        import skops.io
    (folder / "models").mkdir()
    for version, slope in SLOPES.items():
        model = LinearRegression()
        model.coef_, model.intercept_ = np.array([slope]), 0.0
        model.n_features_in_, model.feature_names_in_ = 1, np.array(["delay"], dtype=object)
        skops.io.dump(model, folder / "models" / f"{version}.skops")


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with ``changes``, which replace whole keys, except that model, source and run
    merge.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for key, change in changes.items():
        if key in ("model", "source", "run", "checks", "output") and isinstance(change, dict):
            result[key] = result.get(key, {}) | change
        elif change is None:
            result.pop(key, None)
        else:
            result[key] = change
    return result


def write_job(jobs: Path, **changes: Any) -> Path:
    """JOB with ``changes`` as a job file in ``jobs``."""
    job = merged(JOB, changes)
    path = jobs / f"{job['name']}.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


# Hangs until a file is there.
_WAITING_SCORER = """\
import os, time
from pathlib import Path

def run(df, model):
    while not Path(os.environ["SCORING_DATA"], "go_{name}").exists():
        time.sleep(0.05)
    return df.assign(predicted_delay=model.predict(df))[["predicted_delay"]]
"""


def write_waiting_scorer(jobs: Path, name: str) -> str:
    """A scorer that waits until ``release`` is called for ``name``; returns its file's name."""
    path = jobs / f"{name}.py"
    path.write_text(_WAITING_SCORER.format(name=name))
    return path.name


def release(data: Path, name: str) -> None:
    """Let the scorer of ``write_waiting_scorer`` go on; ``data`` is what ``{data}`` stands for."""
    (data / f"go_{name}").touch()
