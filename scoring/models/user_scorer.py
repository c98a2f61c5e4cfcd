"""A job's own scorer: the function of the classic batch script, in a file or notebook that the job
names.

::

    def run(df, model):      # or run(df), or run(df, model, dv) with model.files: {dv: …}
        return df.assign(total=model.predict(df))[["total"]]

It may return fewer columns than it was given, and other ones, but never other rows.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scoring.errors import ScorerError, raise_if_resource_error
from scoring.job.notebook import SKIP, Cell, code_cells, code_of, is_notebook

if TYPE_CHECKING:
    import pandas as pd

    from scoring.models.base import Model
    from scoring.models.trees.attach import Attached


@dataclass(frozen=True)
class ScorerFile:
    """A job's own scorer: the very bytes that are run, and their digest.

    ``cells`` are those of a notebook; ``code`` is that of all of them.
    """

    path: Path
    code: bytes
    sha256: str
    cells: tuple[Cell, ...] = ()

    @property
    def parts(self) -> list[tuple[str, bytes]]:
        """What is run, one after the other, and what tracebacks call it: the file, or its cells."""
        if not self.cells:
            return [(str(self.path), self.code)]
        return [(f"{self.path}, cell {cell.number}", cell.code.encode()) for cell in self.cells]


def read_scorer(path: Path) -> ScorerFile:
    """Return the file at ``path``, of a notebook its code (``scoring.job.notebook``).

    Raises ScorerError if there is none, or if a notebook has other code than Python.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise_if_resource_error(error)
        raise ScorerError(
            f"the scorer {path} cannot be read: {error.strerror}; scorer: in the job file is "
            "relative to that file's folder"
        ) from None
    cells = code_cells(path, data) if is_notebook(path) else []
    code = code_of(cells) if is_notebook(path) else data
    return ScorerFile(path, code, hashlib.sha256(code).hexdigest(), tuple(cells))


class UserScorer:
    """The ``run`` of a scorer file, and the model that it is given; a ``Model``.

    ``predict`` returns what ``run`` returns: a DataFrame with a column for each output.
    ``ensembles`` are those of its model and of its artifacts.
    """

    inputs = None  # it is given the job's inputs, in the job's order
    classes = None

    def __init__(
        self,
        file: ScorerFile,
        model: Model | None,
        artifacts: Mapping[str, Any] | None = None,
        ensembles: Sequence[Attached] = (),
    ) -> None:
        self.file = file
        self.scorer_sha256 = file.sha256
        self.native = model.native if model else None
        self.runtime_versions = model.runtime_versions if model else {}
        self.ensembles = ensembles
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
        for name, code in file.parts:
            if file.cells:  # the lines that a traceback shows are not those of the notebook's file
                lines = code.decode().splitlines(keepends=True)
                linecache.cache[name] = (len(code), None, lines, name)
            exec(compile(code, name, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        raise_if_resource_error(error)
        raise ScorerError(
            f"the scorer {path} cannot be imported: {type(error).__name__}: {error}{_advice(path)}",
            code_of=error,
        ) from error
    run = getattr(module, "run", None)
    parameters = [*inspect.signature(run).parameters] if callable(run) else []
    others = [name for name in parameters[1:] if name not in artifacts]
    if not callable(run) or not parameters or len(others) > 1:
        raise wrong_signature(path, artifacts)
    arguments = [artifacts.get(name, native) for name in parameters[1:]]
    return lambda frame: run(frame, *arguments)


def _advice(path: Path) -> str:
    if not is_notebook(path):
        return ""
    return f". Tag the cells that scoring does not need, such as those of training, {SKIP}"


def wrong_signature(path: Path, artifacts: Iterable[str]) -> ScorerError:
    """Return the error for a scorer without a ``run`` that can be called."""
    given = "".join(f", {name}" for name in artifacts)
    return ScorerError(
        f"the scorer {path} must define run(df, model) or run(df); the names of model.files can "
        f"be further parameters{': run(df, model' + given + ')' if given else ''}"
    )
