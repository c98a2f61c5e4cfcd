"""The model that predicts, in memory: the file's, and around it the job's own scorer.

Models and artifacts stay in memory for the next shard.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.errors import ModelError
from scoring.job.loader import JobFile
from scoring.models.artifacts import load_artifact
from scoring.models.base import Model, ModelFile
from scoring.models.encoders import encode_by_codes
from scoring.models.environment.build import environment_of
from scoring.models.environment.model import EnvironmentModel, Parts
from scoring.models.inputs import ModelWithInput
from scoring.models.mlflow.files import read_for_child
from scoring.models.sklearn import SklearnModel, check_predicts
from scoring.models.stored import same_bytes, same_folder
from scoring.models.trees.attach import Attached, attach
from scoring.models.user_scorer import UserScorer, read_scorer
from scoring.registry import MODELS
from scoring.storage.connections import Connections

ENVIRONMENT_FORMATS = ("joblib", "skops", "mlflow")
"""The kinds of models that a child process of another environment can load."""

MODELS_KEPT = 8
"""How many models and artifacts a process keeps; the one that was used longest ago goes first."""

_kept: OrderedDict[str, Any] = OrderedDict()
"""Models and artifacts, by what identifies their bytes and how they are loaded."""


def prepare_model(
    job_file: JobFile, file: ModelFile, connections: Connections, threads: int = 1
) -> Model:
    """Return what predicts: the model in ``file``, and around it the job's own scorer, if it has
    one.

    Models stay in memory for the next call.  Raises ModelError and ScorerError.  ``threads`` is for
    a model in an environment of its own; of others, the caller limits this process's threads.
    """
    if file.environment is not None:
        return _environment_model(job_file, file, connections, threads)
    _importable(job_file.path.parent)
    config, exact = job_file.job.model, job_file.job.run.exact_trees
    trusted = tuple(config.trusted_types) if config else ()
    model = _kept_model(file, trusted, connections, exact) if config else None
    if job_file.scorer_path:
        artifacts = {
            name: _kept_artifact(of, trusted, connections, exact) for name, of in file.files.items()
        }
        ensembles = [*getattr(model, "ensembles", ())]
        for artifact in artifacts.values():
            ensembles += artifact.ensembles
        objects = {name: artifact.native for name, artifact in artifacts.items()}
        return UserScorer(read_scorer(job_file.scorer_path), model, objects, ensembles)
    assert model is not None  # a job has a model, a scorer, or both
    assert config is not None
    check_predicts(model, file)
    return model if config.input == "frame" else ModelWithInput(model, config.input)


def _environment_model(
    job_file: JobFile, file: ModelFile, connections: Connections, threads: int
) -> EnvironmentModel:
    """Return the model of ``file`` in its environment: its bytes go there once they are verified."""
    config, spec = job_file.job.model, file.environment
    assert config is not None
    assert spec is not None
    if file.format not in ENVIRONMENT_FORMATS:
        raise ModelError(
            f"{file.uri} is a {file.format} file; environment is for {' and '.join(ENVIRONMENT_FORMATS)}"
        )
    scorer = read_scorer(job_file.scorer_path) if job_file.scorer_path else None
    trusted = tuple(config.trusted_types)

    def load() -> EnvironmentModel:
        parts = Parts(
            file=file,
            **_bytes_or_folder(file, connections),
            artifacts={name: same_bytes(of, connections) for name, of in file.files.items()},
            folder=job_file.path.parent,
            scorer=scorer,
            form=config.input,
            trusted_types=trusted,
        )
        return EnvironmentModel(environment_of(spec), parts, threads)

    of_scorer = (str(scorer.path), scorer.sha256) if scorer else ()
    model: EnvironmentModel = _keep(
        f"environment {file.model_dump_json()} {trusted} {of_scorer} {config.input} "
        f"{job_file.path.parent}",
        load,
    )
    model.threads = threads
    return model


def _bytes_or_folder(file: ModelFile, connections: Connections) -> dict[str, Any]:
    """Return what a child loads as the model, as ``Parts`` has it."""
    if file.format != "mlflow":
        return {"model": same_bytes(file, connections), "kind": file.format}
    copy = same_folder(file, connections)
    model, kind, code = read_for_child(copy, file)
    return {"model": model, "kind": kind, "copy": copy, "code": code}


def _importable(folder: Path) -> None:
    """Let models and scorers import modules that lie beside the job file: here and in Airflow's
    tasks.

    Last on the path, so that none of them takes the place of an installed one.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def load_model(file: ModelFile, trusted_types: Sequence[str], connections: Connections) -> Model:
    """Return the model in ``file``, whose bytes must still have the digest that was verified.

    Raises ModelError if they do not, and as the loader of its format does.
    """
    read = same_folder if file.is_folder else same_bytes
    model: Model = MODELS.load(file.format)(read(file, connections), file, trusted_types)
    return model


def _kept_model(
    file: ModelFile, trusted_types: tuple[str, ...], connections: Connections, exact_trees: bool
) -> Model:
    def load() -> Model:
        model = load_model(file, trusted_types, connections)
        if isinstance(model, SklearnModel):
            model.ensembles = attach(model.native, exact_trees)
            model.coded = encode_by_codes(model.native) if exact_trees else frozenset()
        return model

    model: Model = _keep(f"model {file.model_dump_json()} {trusted_types} {exact_trees}", load)
    return model


@dataclass(frozen=True)
class _Artifact:
    native: Any
    ensembles: list[Attached]


def _kept_artifact(
    file: ModelFile, trusted_types: tuple[str, ...], connections: Connections, exact_trees: bool
) -> _Artifact:
    def load() -> _Artifact:
        native = load_artifact(same_bytes(file, connections), file, trusted_types)
        is_model = file.format in ENVIRONMENT_FORMATS
        return _Artifact(native, attach(native, exact_trees) if is_model else [])

    artifact: _Artifact = _keep(
        f"artifact {file.model_dump_json()} {trusted_types} {exact_trees}", load
    )
    return artifact


def forget_models() -> None:
    """Keep no model or artifact for the next call; those in use stay where they are used."""
    _kept.clear()


def _keep(key: str, load: Callable[[], Any]) -> Any:
    """Return what is kept under ``key``, else what ``load`` returns, which is kept from now on."""
    found = _kept.get(key)
    if found is None:
        found = _kept[key] = load()
        if len(_kept) > MODELS_KEPT:
            _kept.popitem(last=False)
    with suppress(KeyError):  # another thread has asked to forget it
        _kept.move_to_end(key)
    return found
