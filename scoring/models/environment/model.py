"""A model that predicts in a process of another environment; for the engine, a ``Model`` as others."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoring.errors import ModelError, ResourceError, ScorerError, raise_if_resource_error
from scoring.models.base import ModelFile
from scoring.models.content import saved_with
from scoring.models.environment import rows
from scoring.models.environment.build import Environment
from scoring.models.environment.process import ChildProcess, variables
from scoring.models.folders import LocalCopy
from scoring.models.sklearn import (
    OLDEST,
    PACKAGE,
    minor,
    python_for,
    several_outputs,
    with_oldest,
    without_predict,
)
from scoring.models.skops_archive import check_decompression
from scoring.models.user_scorer import ScorerFile, wrong_signature

if TYPE_CHECKING:
    import pyarrow as pa

    from scoring.job.inputs import ColumnConfig


@dataclass(frozen=True)
class Parts:
    """What a child loads: bytes whose digests were verified, and how they are used.

    ``kind`` is the format of ``model``, or ``mlflow``, which loads the folder ``copy`` in its place;
    modules are imported from ``code`` as well as from the job file's ``folder``.
    """

    file: ModelFile
    model: bytes
    kind: str
    artifacts: Mapping[str, bytes]
    folder: Path
    scorer: ScorerFile | None = None
    form: str = "frame"
    trusted_types: Sequence[str] = ()
    copy: LocalCopy | None = None
    code: Path | None = None

    @property
    def request(self) -> tuple[dict[str, Any], list[bytes]]:
        """The header and the payload that a child is sent."""
        data = [self.model, *self.artifacts.values()]
        if self.scorer:
            data += [code for _, code in self.scorer.parts]
        header = {
            "op": "load",
            "format": self.kind,
            "path": str(self.copy.path) if self.copy else None,
            "trusted_types": [*self.trusted_types],
            "files": [(name, self.file.files[name].format) for name in self.artifacts],
            "sizes": [len(part) for part in data],
            "scorer": str(self.scorer.path) if self.scorer else None,
            "scorer_parts": [name for name, _ in self.scorer.parts] if self.scorer else [],
            "folders": [str(folder) for folder in (self.folder, self.code) if folder],
        }
        return header, data


class EnvironmentModel:
    """The model of ``parts``, in a child process of this process: a fork has a child of its own.

    ``threads`` is how many OpenMP threads the child has; another number is another child.
    """

    def __init__(self, environment: Environment, parts: Parts, threads: int = 1) -> None:
        assert parts.file.environment is not None
        self.environment = environment.record
        self.scorer_sha256 = parts.scorer.sha256 if parts.scorer else None
        self.threads = threads
        self._config = parts.file.environment
        self._python, self._parts = environment.python, parts
        self._lock = threading.Lock()
        self._running = _Running()
        _check_sizes(parts)
        if saved := saved_with(parts.model):  # seldom loads with another release, and says no why
            _check_release(parts.file, saved, environment.packages.get(PACKAGE))
        weakref.finalize(self, self._running.end)
        with self._lock:
            self._facts = self._start()
        _check_facts(self._facts, parts, self.environment)

    @property
    def inputs(self) -> list[str] | None:
        return None if self._parts.scorer else self._facts["inputs"]

    @property
    def classes(self) -> list[Any] | None:
        if self._parts.scorer or not self._facts["has_predict_proba"]:
            return None
        if self._facts["outputs"] > 1:
            raise several_outputs(self._facts["type"], self._facts["outputs"])
        found: list[Any] | None = self._facts["classes"]
        return found

    @property
    def runtime_versions(self) -> dict[str, str]:
        saved_by, installed = self._facts["saved_by"], self._facts["sklearn"]
        found = saved_by[-1] if saved_by else installed
        return {PACKAGE: found} if found else {}

    @property
    def native(self) -> Any:
        """A stand-in of the same type name, with ``classes_``: the object itself is elsewhere."""
        stand_in = type(str(self._facts["type"]), (), {})()
        if self._facts["classes"] is not None:
            dtype = self._facts["classes_dtype"]
            stand_in.classes_ = np.array(self._facts["classes"], dtype=dtype)
        return stand_in

    def features_of(self, table: pa.Table, columns: Mapping[str, ColumnConfig]) -> rows.Features:
        """Return ``columns`` of ``table`` as the child is sent them, in place of a DataFrame."""
        return rows.of_table(table, columns)

    def predict(self, frame: Any) -> Any:
        return self._ask("run" if self._parts.scorer else "predict", frame)

    def predict_proba(self, frame: Any) -> Any:
        return self._ask("predict_proba", frame)

    def _ask(self, op: str, sent: rows.Features) -> Any:
        header = {"op": op, "objects": sent.objects, "form": self._parts.form}
        with self._lock:
            child = self._running.of(self.threads)
            if child is None:
                self._start()
                child = self._running.of(self.threads)
            assert child is not None
            try:
                reply, data = child.ask(header, [sent.payload])
            except BaseException:
                self._running.end()
                raise
        if "error" in reply:
            raise self._scorer_error(reply["error"])
        return rows.decoded(op, reply, data, sent.index)

    def _start(self) -> dict[str, Any]:
        """Start a child and load the model in it; return what it says of the model."""
        file = self._parts.file
        what = (
            f"{file.name} {file.version}, scored in its environment (Python {self._config.python})"
        )
        child = ChildProcess(
            self._python,
            variables(self._config.variables, self.threads),
            what,
            self._config.timeout_seconds,
        )
        self._running.start(child, self.threads)
        header, data = self._parts.request
        try:
            reply, _ = child.ask(header, data)
        except BaseException:
            self._running.end()
            raise
        if "error" in reply:
            self._running.end()
            raise self._load_error(reply["error"])
        return reply

    def _load_error(self, error: dict[str, Any]) -> Exception:
        file, stage = self._parts.file, error["stage"]
        cause = f"{error['type']}: {error['message']}"
        if error["no_memory"]:
            return ResourceError(f"{file.uri} cannot be loaded: out of memory")
        if stage == "signature":
            assert self._parts.scorer is not None
            return wrong_signature(self._parts.scorer.path, self._parts.artifacts)
        if stage == "scorer":
            assert self._parts.scorer is not None
            text = f"the scorer {self._parts.scorer.path} cannot be imported: {cause}"
            return _with_code(ScorerError(text), error)
        if stage == "untrusted":
            return ModelError(
                f"{file.uri} contains types that {file.name} does not trust: {error['message']}; it "
                "was not loaded and nothing was scored. If you know them, list them in the job file "
                "under model.trusted_types"
            )
        name = stage.removeprefix("file ")
        uri = file.files[name].uri if name in file.files else file.uri
        remedy = ". Add what is missing to environment.requirements" if error["missing"] else ""
        return ModelError(
            f"{uri} cannot be loaded in its environment (Python {self.environment['python']}): "
            f"{cause}{remedy}"
        )

    def _scorer_error(self, error: dict[str, Any]) -> Exception:
        if error["stage"] == "result":
            return ScorerError(error["message"])
        text = f"predicting failed with {error['type']}: {error['message']}"
        if error["no_memory"]:
            return ResourceError(f"{text}; out of memory")
        return _with_code(ScorerError(text), error)


@dataclass
class _Running:
    """The child that is running, whose it is, and with how many threads."""

    child: ChildProcess | None = None
    threads: int = 0

    def of(self, threads: int) -> ChildProcess | None:
        """Return the child of this process with so many threads, if there is one."""
        if self.child is None:
            return None
        if self.child.pid_of_owner != os.getpid():
            self.child.forget()
            self.child = None
        elif self.threads != threads:
            self.end()
        return self.child

    def start(self, child: ChildProcess, threads: int) -> None:
        self.child, self.threads = child, threads

    def end(self) -> None:
        child, self.child = self.child, None
        if child:
            child.end()


def _with_code(error: ScorerError, described: dict[str, Any]) -> ScorerError:
    """Return ``error`` with the code and the traceback of the child's exception."""
    error.frames, error.traceback = described["frames"], described["traceback"]
    return error


def _check_sizes(parts: Parts) -> None:
    """Raise ModelError for a skops file that would fill the memory."""
    files = [(parts.file, parts.kind, parts.model)]
    for name, data in parts.artifacts.items():
        files.append((parts.file.files[name], parts.file.files[name].format, data))
    for file, kind, data in files:
        if kind != "skops":
            continue
        try:
            check_decompression(data)
        except Exception as error:
            raise_if_resource_error(error)
            raise ModelError(
                f"{file.uri} is not a skops file that can be loaded: {type(error).__name__}: {error}"
            ) from error


def _check_facts(facts: dict[str, Any], parts: Parts, environment: Mapping[str, str]) -> None:
    """Raise ModelError for a model that does not predict, or that another release saved than its
    environment has.
    """
    file = parts.file
    if parts.scorer is None and not facts["has_predict"]:
        raise without_predict(file, facts["type"], facts["parts"])
    for saved in facts["saved_by"]:
        _check_release(file, saved, facts["sklearn"])


def _check_release(file: ModelFile, saved: str, installed: str | None) -> None:
    """Raise ModelError if the environment has another scikit-learn than saved the model."""
    if installed is None or minor(saved) in (minor(installed), file.accept.get(PACKAGE)):
        return
    if python_for(saved):
        remedy = (
            f"{PACKAGE}=={saved} in environment.requirements. If you have compared its predictions "
            f'with those of {saved}, accept: {{{PACKAGE}: "{minor(saved)}"}} beside it lets it pass'
        )
    else:
        remedy = f"{PACKAGE}=={OLDEST} there, {with_oldest(saved)}"
    raise ModelError(
        f"{file.uri} was saved with scikit-learn {saved}, and its environment has {installed}: its "
        f"predictions could differ silently, so nothing was scored. Write {remedy}"
    )
