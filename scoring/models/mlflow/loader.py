"""Loads the folder of an MLflow model: scikit-learn's own estimator, or MLflow's wrapper of others."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.errors import ModelError, needs_extra, raise_if_resource_error
from scoring.models.base import Model, ModelFile
from scoring.models.folders import LocalCopy, tree_digest
from scoring.models.mlflow.files import estimator, within
from scoring.models.mlflow.mlmodel import NAME, MlModel, parse_mlmodel
from scoring.registry import MODELS

if TYPE_CHECKING:
    import pandas as pd


def load(folder: LocalCopy, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``folder``; see ``scoring.models.base.FolderLoader``.

    A model of the scikit-learn flavor is loaded as its file would be without MLflow, under the same
    checks: the types in a skops file, the release that saved it.
    """
    model = parse_mlmodel((folder.path / NAME).read_bytes(), file.uri)
    _add_code(folder, model.code, file)
    if model.sklearn_file is None:
        return _load_pyfunc(folder, model, file)
    data, kind = estimator(folder, model.sklearn_file, file)
    native: Model = MODELS.load(kind)(data, file, trusted_types)
    if not model.code:
        folder.close()
    return native


_brought: dict[str, tuple[str, LocalCopy]] = {}
"""The modules that models have brought into this process, by name: their digest, where they lie."""


def _add_code(folder: LocalCopy, code: str | None, file: ModelFile) -> None:
    """Let the modules that were logged with the model be imported, until this process ends.

    Raises ModelError where there is another module of such a name already: Python would take that
    one in its place.
    """
    if not code:
        return
    path = within(folder, code, file)
    for entry in sorted(path.iterdir()):
        name, digest = entry.stem, _code_digest(entry)
        if name == "__pycache__" or _brought.get(name, ("",))[0] == digest:
            continue
        where = _module_of(name)
        if where is not None and (where == Path() or _code_digest(where) != digest):
            raise ModelError(
                f"{file.uri} brings a module {name!r}, and there is another one of that name here "
                f"({where}); it was not loaded. Rename one of them"
            )
        _brought[name] = (digest, folder)
        if str(path) not in sys.path:
            sys.path.append(str(path))


def _module_of(name: str) -> Path | None:
    """Return the file or folder of the module that ``import`` would take; None: there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # one without a file, such as __main__
        return Path()
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.has_location and spec.origin else Path()


def _code_digest(entry: Path) -> str:
    files = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
    digests = {
        path.relative_to(entry).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }
    return tree_digest(digests)


def _load_pyfunc(folder: LocalCopy, model: MlModel, file: ModelFile) -> Model:
    # A batch job reports nothing to MLflow's makers: set before the first import.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with needs_extra("mlflow", "MLflow models other than scikit-learn's"):
        import mlflow.pyfunc
    try:
        native = mlflow.pyfunc.load_model(str(folder.path), suppress_warnings=True)
    except (Exception, SystemExit) as e:
        raise_if_resource_error(e)
        raise ModelError(
            f"{file.uri} is not an MLflow model that can be loaded here: {type(e).__name__}: {e}"
        ) from e
    return PyfuncModel(native, folder, model, str(mlflow.__version__))


class PyfuncModel:
    """What ``mlflow.pyfunc`` made of a model; a ``Model``.

    MLflow checks each DataFrame against the model's signature.  The local copy is kept, as a model
    may read its artifacts when it predicts.
    """

    classes = None

    def __init__(self, native: Any, folder: LocalCopy, model: MlModel, version: str) -> None:
        self.native = native
        self.runtime_versions = {"mlflow": version}
        columns = model.columns or []
        # MLflow itself picks the columns of a signature that has optional ones.
        fixed = columns and all(column.required for column in columns)
        self.inputs = [column.name for column in columns] if fixed else None
        self._folder = folder

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.native.predict(frame)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        raise NotImplementedError  # MLflow's wrapper has one method
