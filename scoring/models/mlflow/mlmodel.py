"""The MLmodel file: which library saved a model, and with which inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from scoring.errors import ModelError
from scoring.job.inputs import ColumnConfig, ColumnType
from scoring.job.schema import Job
from scoring.models.folders import Folder

NAME = "MLmodel"
MOST_BYTES = 1 << 20

_NUMBERS = {"int8", "int16", "int32", "int64", "float32", "float64"}
_FITTING: dict[str, set[str]] = {
    **dict.fromkeys(("integer", "long", "float", "double"), _NUMBERS),
    "boolean": {"boolean"},
    "string": {"string"},
    "datetime": {"timestamp", "date"},
}
"""Types of the job that a column of the signature takes; others (objects, arrays) are not checked."""


_TYPES: dict[str, ColumnType] = {
    "boolean": "boolean",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "string",
    "datetime": "timestamp",
}
"""The job's types of the signature's: https://mlflow.org/docs/latest/ml/model/signatures/."""


@dataclass(frozen=True)
class SignatureColumn:
    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class MlModel:
    """``columns`` is None for a model without a signature of named columns."""

    flavors: dict[str, dict[str, Any]]
    columns: list[SignatureColumn] | None

    @property
    def sklearn_file(self) -> str | None:
        """The file of scikit-learn's own estimator, which is loaded without MLflow."""
        name = self.flavors.get("sklearn", {}).get("pickled_model")
        return None if name is None else str(name)

    @property
    def code(self) -> str | None:
        """The folder of the modules that were logged with the model."""
        flavor = "sklearn" if self.sklearn_file else "python_function"
        code = self.flavors.get(flavor, {}).get("code")
        return str(code) if code else None


def read_mlmodel(folder: Folder, uri: str) -> MlModel:
    """Return what the MLmodel file in ``folder`` says; ModelError if there is none."""
    if NAME not in folder.paths():
        raise ModelError(f"{uri} has no file {NAME}, so it is not the folder of an MLflow model")
    return parse_mlmodel(small_file(folder, NAME, uri), uri)


def small_file(folder: Folder, name: str, uri: str) -> bytes:
    """Return the bytes of a text file in ``folder``; ModelError for one that is too large."""
    data = b""
    for chunk in folder.chunks(name):
        data += chunk
        if len(data) > MOST_BYTES:
            raise ModelError(f"the file {name} of {uri} is larger than {MOST_BYTES:,} bytes")
    return data


def parse_mlmodel(data: bytes, uri: str) -> MlModel:
    """Return what an MLmodel file says; ModelError, which names ``uri``, if it is not one."""
    try:
        found = yaml.safe_load(data)
        flavors = {str(name): dict(of) for name, of in found["flavors"].items()}
        signature = found.get("signature") or {}
        columns = _columns(json.loads(signature.get("inputs") or "[]"))
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise ModelError(
            f"the MLmodel file of {uri} cannot be read: {type(e).__name__}: {e}"
        ) from e
    return MlModel(flavors, columns)


def _columns(inputs: list[dict[str, Any]]) -> list[SignatureColumn] | None:
    if not inputs or any("name" not in column or "tensor-spec" in column for column in inputs):
        return None
    return [
        SignatureColumn(str(c["name"]), str(c.get("type")), bool(c.get("required", True)))
        for c in inputs
    ]


def inputs_of(model: MlModel, uri: str) -> dict[str, ColumnConfig]:
    """Return the contract that the signature is; an optional column may have nulls.

    Raises ModelError for a model without a signature, or whose columns are not plain ones.
    """
    remedy = "; list the columns under inputs in the job file"
    if not model.columns:
        raise ModelError(
            f"the job lists no inputs, and {uri} has no signature of named columns{remedy}"
        )
    others = [column for column in model.columns if column.type not in _TYPES]
    if others:
        raise ModelError(
            f"the job lists no inputs, and the signature of {uri} says that {others[0].name!r} is "
            f"{others[0].type}, which no column of a table is{remedy}"
        )
    return {
        column.name: ColumnConfig(type=_TYPES[column.type], nullable=not column.required)
        for column in model.columns
    }


def check_signature(model: MlModel, job: Job, what: str) -> None:
    """Raise ModelError where the job's inputs are not those of the model's signature.

    A scorer makes the model's columns itself; a model that is given an array has no names.
    """
    assert job.model is not None
    if model.columns is None or job.scorer or job.model.input == "array":
        return
    listed = ", ".join(job.inputs)
    for column in model.columns:
        given = job.inputs.get(column.name)
        if given is None:
            if column.required:
                raise ModelError(
                    f"the signature of {what} requires {column.name!r} ({column.type}), which the "
                    f"job's inputs do not list (they are {listed})"
                )
            continue
        fitting = _FITTING.get(column.type)
        kind: ColumnType = given.type
        if fitting is not None and kind not in fitting:
            raise ModelError(
                f"the signature of {what} says that {column.name!r} is {column.type}, and the job "
                f"says {kind}; write one of {', '.join(sorted(fitting))} in inputs, or take a "
                "model that was trained with that type"
            )
