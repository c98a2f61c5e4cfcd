"""The files in the folder of an MLflow model that are loaded: the estimator, and modules beside it."""

from __future__ import annotations

from pathlib import Path

from scoring.errors import ModelError
from scoring.models.base import ModelFile
from scoring.models.content import kind_of
from scoring.models.folders import LocalCopy
from scoring.models.mlflow.mlmodel import NAME, parse_mlmodel


def read_for_child(folder: LocalCopy, file: ModelFile) -> tuple[bytes, str, Path | None]:
    """Return what a child process loads: the bytes of scikit-learn's own estimator and their kind,
    or nothing and ``mlflow``, which loads the folder; and the folder of modules to import from.

    Raises ModelError for a folder that does not have what its MLmodel file names.
    """
    model = parse_mlmodel((folder.path / NAME).read_bytes(), file.uri)
    code = within(folder, model.code, file) if model.code else None
    if model.sklearn_file is None:
        return b"", "mlflow", code
    return *estimator(folder, model.sklearn_file, file), code


def estimator(folder: LocalCopy, name: str, file: ModelFile) -> tuple[bytes, str]:
    """Return the bytes of scikit-learn's own estimator, and their kind."""
    data = within(folder, name, file).read_bytes()
    kind = kind_of(data)
    if kind not in ("joblib", "skops"):
        raise ModelError(f"{name} in {file.uri} is neither a skops nor a pickle file")
    return data, kind


def within(folder: LocalCopy, name: str, file: ModelFile) -> Path:
    """Return a path in ``folder``; ModelError if it leads out of it, or there is nothing."""
    path = (folder.path / name).resolve()
    if not path.is_relative_to(folder.path.resolve()) or not path.exists():
        raise ModelError(f"the MLmodel file of {file.uri} names {name!r}, which is not in it")
    return path
