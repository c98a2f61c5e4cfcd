"""A job's own scorer: the function of the classic batch script, in a file that the job names.

::

    def run(df, model):      # or run(df), or run(df, model, dv) with model.files: {dv: …}
        return df.assign(total=model.predict(df))[["total"]]

It may return fewer columns than it was given, and other ones, but never other rows.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scoring.errors import ScorerError, raise_if_resource_error

if TYPE_CHECKING:
    import pandas as pd

    from scoring.models.base import Model


@dataclass(frozen=True)
class ScorerFile:
    """A job's own scorer: the very bytes that are run, and their digest."""

    path: Path
    code: bytes
    sha256: str


def read_scorer(path: Path) -> ScorerFile:
    """Return the file at ``path``; ScorerError if there is none."""
    try:
        code = path.read_bytes()
    except OSError as error:
        raise_if_resource_error(error)
        raise ScorerError(
            f"the scorer {path} cannot be read: {error.strerror}; scorer: in the job file is "
            "relative to that file's folder"
        ) from None
    return ScorerFile(path, code, hashlib.sha256(code).hexdigest())


class UserScorer:
    """The ``run`` of a scorer file, and the model that it is given; a ``Model``.

    ``predict`` returns what ``run`` returns: a DataFrame with a column for each output.
    """

    inputs = None  # it is given the job's inputs, in the job's order
    classes = None

    def __init__(
        self, file: ScorerFile, model: Model | None, artifacts: Mapping[str, Any] | None = None
    ) -> None:
        self.file = file
        self.scorer_sha256 = file.sha256
        self.native = model.native if model else None
        self.runtime_versions = model.runtime_versions if model else {}
        self._run = _function(file, self.native, artifacts or {})

    def predict(self, frame: pd.DataFrame) -> Any:
        return self._run(frame)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        raise NotImplementedError  # probabilities are columns of what ``predict`` returns


def _function(
    file: ScorerFile, native: Any, artifacts: Mapping[str, Any]
) -> Callable[[pd.DataFrame], Any]:
    path = file.path
    module = ModuleType(f"scoring_job_{path.stem}_{file.sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the module they are in
    try:
        # Not by Python's import, which would read the file once more, or a compiled copy of it.
        exec(compile(file.code, path, "exec", dont_inherit=True), vars(module))
    except Exception as error:
        raise_if_resource_error(error)
        raise ScorerError(
            f"the scorer {path} cannot be imported: {type(error).__name__}: {error}",
            code_of=error,
        ) from error
    run = getattr(module, "run", None)
    parameters = [*inspect.signature(run).parameters] if callable(run) else []
    others = [name for name in parameters[1:] if name not in artifacts]
    if not callable(run) or not parameters or len(others) > 1:
        raise wrong_signature(path, artifacts)
    arguments = [artifacts.get(name, native) for name in parameters[1:]]
    return lambda frame: run(frame, *arguments)


def wrong_signature(path: Path, artifacts: Iterable[str]) -> ScorerError:
    """Return the error for a scorer without a ``run`` that can be called."""
    given = "".join(f", {name}" for name in artifacts)
    return ScorerError(
        f"the scorer {path} must define run(df, model) or run(df); the names of model.files can "
        f"be further parameters{': run(df, model' + given + ')' if given else ''}"
    )
