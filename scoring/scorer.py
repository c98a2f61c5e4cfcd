"""From a frame of inputs to a frame of outputs: the model's predict, or the job's own function.

A job's own scorer is the function of the classic batch script, in a file that the job names::

    def run(df, model):      # or run(df)
        return df.assign(total=model.predict(df))[["total"]]

It may return fewer columns than it was given, and other ones, but never other rows.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from scoring.errors import ModelError, ScorerError, ScoringError
from scoring.job import Job

Scorer = Callable[[pd.DataFrame], pd.DataFrame]
"""Takes the inputs: the job's input columns in its order, one row a row to score, with the row's
number in the source (from 1) as index.  Returns the outputs, with the same index in the same order:
the prediction column, the probability columns, and whatever else the job's own scorer adds."""


@dataclass(frozen=True)
class ScorerFile:
    """A job's own scorer: the very bytes that are run, and their digest."""

    path: Path
    code: bytes
    sha256: str


def read_scorer(path: Path) -> ScorerFile:
    """The file at ``path``; ScorerError if there is none."""
    try:
        code = path.read_bytes()
    except OSError as error:
        raise ScorerError(
            f"the scorer {path} cannot be read: {error.strerror}; scorer: in the job file is "
            "relative to that file's folder. Nothing was scored"
        ) from None
    return ScorerFile(path, code, hashlib.sha256(code).hexdigest())


def scorer_for(job: Job, own: ScorerFile | None, estimator: Any) -> Scorer:
    """The scorer of ``job``; ``estimator`` is its loaded model (None for a job without one)."""
    predict = _own_scorer(own, estimator) if own else _model_scorer(job, estimator)

    def score(inputs: pd.DataFrame) -> pd.DataFrame:
        where = f"{job.name}, rows {inputs.index[0]:,} to {inputs.index[-1]:,}"
        try:
            outputs = predict(inputs)
        except ScoringError:
            raise
        except Exception as error:
            raise ScorerError(
                f"{where}: predicting failed with {type(error).__name__}: {error}; nothing was "
                "published"
            ) from error
        return _aligned(outputs, inputs, job, where)

    return score


def _model_scorer(job: Job, estimator: Any) -> Scorer:
    wanted = getattr(estimator, "feature_names_in_", None)
    order = list(job.inputs) if wanted is None else [str(name) for name in wanted]
    missing = [name for name in order if name not in job.inputs]
    if missing:
        raise ModelError(
            f"the model of {job.name} was trained with {', '.join(map(repr, missing))}, which the "
            f"job's inputs do not list (they are {', '.join(job.inputs)}); nothing was scored"
        )
    classes = _class_positions(job, estimator)

    def predict(inputs: pd.DataFrame) -> pd.DataFrame:
        features = inputs[order]
        outputs = {job.output.prediction: estimator.predict(features)}
        if classes:
            probabilities = estimator.predict_proba(features)
            outputs |= {name: probabilities[:, at] for name, at in classes.items()}
        return pd.DataFrame(outputs, index=inputs.index)

    return predict


def _class_positions(job: Job, estimator: Any) -> dict[str, int]:
    """For each probability column of the job, the column of predict_proba that it is."""
    if not job.output.probabilities:
        return {}
    if not hasattr(estimator, "predict_proba"):
        raise ModelError(
            f"output.probabilities of {job.name} needs predict_proba, which a "
            f"{type(estimator).__name__} has not; nothing was scored"
        )
    known = [c.item() if isinstance(c, np.generic) else c for c in estimator.classes_]
    for name, label in job.output.probabilities.items():
        if label not in known:
            raise ModelError(
                f"output.probabilities.{name} of {job.name} is for the class {label!r}, and the "
                f"model knows {', '.join(map(repr, known))}; nothing was scored"
            )
    return {name: known.index(label) for name, label in job.output.probabilities.items()}


def _own_scorer(own: ScorerFile, estimator: Any) -> Scorer:
    path = own.path
    module = ModuleType(f"scoring_job_{path.stem}_{own.sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the module they are in
    try:
        # Not by Python's import, which would read the file once more, or a compiled copy of it.
        exec(compile(own.code, path, "exec", dont_inherit=True), vars(module))
    except Exception as error:
        raise ScorerError(
            f"the scorer {path} cannot be imported: {type(error).__name__}: {error}; nothing was "
            "scored"
        ) from error
    run = getattr(module, "run", None)
    parameters = list(inspect.signature(run).parameters) if callable(run) else []
    if len(parameters) == 1:
        return lambda inputs: run(inputs)  # type: ignore[misc]
    if len(parameters) == 2:
        return lambda inputs: run(inputs, estimator)  # type: ignore[misc]
    raise ScorerError(
        f"the scorer {path} must define run(df, model) or run(df); nothing was scored"
    )


def _aligned(outputs: Any, inputs: pd.DataFrame, job: Job, where: str) -> pd.DataFrame:
    """``outputs``, or ScorerError where they are not one row for each input row, in its place."""
    if not isinstance(outputs, pd.DataFrame):
        raise ScorerError(
            f"{where}: the scorer must return a DataFrame, not {type(outputs).__name__}; nothing "
            "was published"
        )
    if not outputs.index.equals(inputs.index):
        missing = inputs.index.difference(outputs.index)[:3].tolist()
        added = outputs.index.difference(inputs.index)[:3].tolist()
        raise ScorerError(
            f"{where}: the scorer was given {len(inputs):,} rows and returned {len(outputs):,} with "
            f"another index (missing: {missing or 'none'}, added: {added or 'none'}; else their "
            "order differs). It must keep the index of df as it is. Nothing was published"
        )
    twice = outputs.columns[outputs.columns.duplicated()]
    if len(twice):
        raise ScorerError(
            f"{where}: the scorer returned two columns {twice[0]!r}; nothing was published"
        )
    absent = [
        name
        for name in (job.output.prediction, *job.output.probabilities)
        if name not in outputs.columns
    ]
    if absent:
        raise ScorerError(
            f"{where}: the scorer returned no column {', '.join(map(repr, absent))}, which output in "
            f"the job file names; it returned {', '.join(map(str, outputs.columns))}"
        )
    return outputs
