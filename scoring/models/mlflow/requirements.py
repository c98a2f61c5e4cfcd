"""What an MLflow model asks for: the Python that saved it, and the packages in its requirements."""

from __future__ import annotations

import re

from scoring.errors import ModelError
from scoring.job.model import TIMEOUT_SECONDS
from scoring.models.base import EnvironmentSpec
from scoring.models.folders import Folder
from scoring.models.mlflow.mlmodel import MlModel, small_file

REQUIREMENTS = "requirements.txt"

_MLFLOW = re.compile(r"mlflow(-skinny)?\s*([<>=!~;]|$)")


def mlflow_environment(model: MlModel, folder: Folder, uri: str) -> EnvironmentSpec:
    """Return the environment that ``model``, which lies in ``folder``, asks for.

    The model is loaded without MLflow where that is possible, so MLflow is left out there.  Raises
    ModelError where the folder does not say the Python or the packages.
    """
    python = re.match(
        r"3\.\d+", str(model.flavors.get("python_function", {}).get("python_version"))
    )
    if python is None or REQUIREMENTS not in folder.paths():
        raise ModelError(
            f"{uri} does not say which Python and packages it needs (python_version in MLmodel, and "
            f"{REQUIREMENTS}); write environment: {{python: …, requirements: …}} in the job file"
        )
    lines = small_file(folder, REQUIREMENTS, uri).decode("utf-8", "replace").splitlines()
    if model.sklearn_file is not None:
        lines = [line for line in lines if not _MLFLOW.match(line)]
    return EnvironmentSpec(
        python=python.group(), requirements="\n".join(lines), timeout_seconds=TIMEOUT_SECONDS
    )
