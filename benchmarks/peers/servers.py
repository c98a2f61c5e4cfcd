"""How each server is started with the model, what it is asked for rows, and how it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib

from benchmarks.peers.environments import environment

HERE = Path(__file__).parent
Row = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """``command`` starts it on a port; it answers ``ready`` with 200 as soon as it can predict.

    ``body`` is what ``path`` is sent for rows, ``predictions`` reads the answer.
    """

    name: str
    command: Callable[[int], list[str]]
    ready: str
    path: str
    body: Callable[[Sequence[Row]], object]
    predictions: Callable[[Any], list[float]]
    environment: dict[str, str] = field(default_factory=dict)


def ours(job_file: Path, data: Path, *options: str) -> Server:
    def command(port: int) -> list[str]:
        serve = [sys.executable, "-m", "scoring", "serve", str(job_file), "--data", str(data)]
        return [*serve, "--port", str(port), *options]

    return Server(
        "scoring serve",
        command,
        "/readyz",
        f"/v1/jobs/{job_file.stem}/predict",
        body=lambda rows: rows[0] if len(rows) == 1 else rows,
        predictions=lambda answer: [row["predicted_arr_delay"] for row in answer["rows"]],
    )


def peers(model: Any, inputs: Sequence[Row], trusted: Sequence[str], folder: Path) -> list[Server]:
    """Return the other servers, with ``model`` saved for each in ``folder``; they are sent the
    columns of ``inputs``, of which some rows are enough."""
    model_file, names = folder / "model.joblib", list(inputs[0])
    joblib.dump(model, model_file)
    environments = {name: environment(name, folder) for name in ("mlflow", "bentoml")}
    return [
        _fastapi("FastAPI", "/predict", model_file, names),
        _fastapi("FastAPI, threads", "/predict-in-threads", model_file, names),
        _mlflow(environments["mlflow"], model_file, inputs, trusted, folder),
        _bentoml(environments["bentoml"], model_file, names),
    ]


def _fastapi(name: str, path: str, model_file: Path, names: Sequence[str]) -> Server:
    app = "benchmarks.peers.fastapi_app:app"
    uvicorn = [sys.executable, "-m", "uvicorn", "--no-access-log", app, "--port"]
    return Server(
        name,
        lambda port: [*uvicorn, str(port)],
        "/health",
        path,
        body=lambda rows: _objects(rows, names),
        predictions=list,
        environment={"MODEL": str(model_file)},
    )


def _mlflow(
    place: Path, model_file: Path, inputs: Sequence[Row], trusted: Sequence[str], folder: Path
) -> Server:
    saved, rows_file, names = folder / "mlmodel", folder / "inputs.json", list(inputs[0])
    shutil.rmtree(saved, ignore_errors=True)
    rows_file.write_text(json.dumps(inputs))
    paths = (place / "bin/python", HERE / "mlflow_model.py", model_file, rows_file, saved)
    save = [*map(str, paths), *trusted]
    done = subprocess.run(save, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: the model was not saved for MLflow:\n{done.stderr[-3000:]}")
    serve = [str(place / "bin/mlflow"), "models", "serve", "--model-uri", str(saved)]
    serve += ["--env-manager", "local", "--workers", "1", "--port"]
    return Server(
        "MLflow",
        lambda port: [*serve, str(port)],
        "/ping",
        "/invocations",
        body=lambda rows: {"dataframe_split": _split(rows, names)},
        predictions=lambda answer: answer["predictions"],
        # It starts a `uvicorn` of its PATH, which logs each request unless it is asked not to.
        environment={"PATH": f"{place}/bin:/usr/bin:/bin", "UVICORN_ACCESS_LOG": "false"},
    )


def _bentoml(place: Path, model_file: Path, names: Sequence[str]) -> Server:
    serve = [str(place / "bin/bentoml"), "serve", "--quiet", "bentoml_service:Flights"]
    serve += ["--working-dir", str(HERE), "--port"]
    return Server(
        "BentoML",
        lambda port: [*serve, str(port)],
        "/readyz",
        "/predict",
        body=lambda rows: {"rows": _objects(rows, names)},
        predictions=list,
        environment={
            "MODEL": str(model_file),
            "PATH": f"{place}/bin:/usr/bin:/bin",
            "BENTOML_HOME": str(place / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
        },
    )


def _objects(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    return [{name: row[name] for name in names} for row in rows]


def _split(rows: Sequence[Row], names: Sequence[str]) -> dict[str, list[Any]]:
    return {"columns": list(names), "data": [[row[name] for name in names] for row in rows]}
