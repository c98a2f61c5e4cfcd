"""scikit-learn's API as a ``Model``, and the check of the release that saved one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scoring.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from scoring.job.inputs import ColumnConfig
    from scoring.models.base import Model, ModelFile
    from scoring.models.trees.attach import Attached

PACKAGE = "scikit-learn"

WHEELS: tuple[tuple[tuple[int, int], str], ...] = (
    ((1, 8), "3.11"),
    ((1, 7), "3.10"),
    ((0, 24), "3.9"),
    ((0, 22), "3.8"),
)
"""The first releases of scikit-learn that no longer have wheels for an older Python, or that have
some for this one."""
OLDEST = "0.22.2.post1"
"""It has wheels for Python 3.8, and still knows the modules where 0.21 and older had their classes."""


_MANY_ROWS = 1024
"""For fewer, to encode them as codes would take as long as row by row."""


class SklearnModel:
    """An estimator, or any other object that predicts as scikit-learn's do; a ``Model``."""

    def __init__(self, estimator: Any, runtime_versions: dict[str, str] | None = None) -> None:
        self.native = estimator
        self.runtime_versions = runtime_versions or {}
        self.ensembles: list[Attached] = []
        self.coded: frozenset[str] = frozenset()
        """The inputs whose text may be given as codes: see ``scoring.models.encoders``."""

    @property
    def inputs(self) -> list[str] | None:
        names = getattr(self.native, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]

    @property
    def classes(self) -> list[Any] | None:
        if not hasattr(self.native, "predict_proba"):
            return None
        if isinstance(self.native.classes_, list):
            raise several_outputs(type(self.native).__name__, len(self.native.classes_))
        return [c.item() if isinstance(c, np.generic) else c for c in self.native.classes_]

    def features_of(self, table: pa.Table, columns: Mapping[str, ColumnConfig]) -> pd.DataFrame:
        """Return the DataFrame that is predicted; see ``Model``."""
        from scoring.arrow.frame import to_frame  # pandas, which a look at a model does not need

        return to_frame(table, columns, self.coded if table.num_rows >= _MANY_ROWS else ())

    def predict(self, frame: pd.DataFrame) -> Any:
        with _without_names():
            return self.native.predict(frame)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        with _without_names():
            return self.native.predict_proba(frame)


@contextmanager
def _without_names() -> Iterator[None]:
    """Silence scikit-learn where a model was fitted on an array and gets a DataFrame: it would say
    so for every batch, and ``check --deep`` does it once.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has feature names, but", UserWarning)
        yield


def check_predicts(model: Model, file: ModelFile) -> None:
    """Raise ModelError for what was saved without a ``predict`` method, such as a pair of two
    objects.
    """
    native = model.native
    if not isinstance(model, SklearnModel) or callable(getattr(native, "predict", None)):
        return
    parts = list(native.values()) if isinstance(native, dict) else native
    names = [type(part).__name__ for part in parts] if isinstance(parts, list | tuple) else []
    raise without_predict(file, type(native).__name__, names)


def without_predict(file: ModelFile, kind: str, parts: Sequence[str]) -> ModelError:
    """Return the error for an object of the type ``kind``, which may have parts of these types."""
    what, remedy = f"a {kind}", ""
    if parts:
        what += f" of {', '.join(parts)}"
        remedy = " (is it a vectorizer and its model?)"
    return ModelError(
        f"{file.uri} is {what}, which has no predict{remedy}. A scorer (scorer: in "
        "the job file) is given it as it is, and says how it predicts: def run(df, model)"
    )


def several_outputs(kind: str, outputs: int) -> ModelError:
    """Return the error for a classifier of several outputs, of the type ``kind``."""
    return ModelError(
        f"{kind} predicts {outputs} outputs at once, each with classes of its own. A scorer "
        "(scorer: in the job file) can return them by name"
    )


def loaded(load: Callable[[], Any], file: ModelFile) -> SklearnModel:
    """Return the model that ``load`` returns, and the scikit-learn that saved it.

    Raises ModelError if another scikit-learn (major.minor) did.  scikit-learn warns of each part
    that another release saved.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = load()
    from sklearn import __version__ as installed
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import InconsistentVersionWarning

    others = [
        str(warning.message.original_sklearn_version)
        for warning in caught
        if isinstance(warning.message, InconsistentVersionWarning)
    ]
    for saved in others:  # each part of a pipeline has its own
        if minor(saved) not in (minor(installed), file.accept.get(PACKAGE)):
            raise ModelError(
                f"{file.uri} was saved with scikit-learn {saved}, and this is {installed}: its "
                "predictions could differ silently, so nothing was scored. Train or save it again "
                f"with {minor(installed)}.*. If you have compared its predictions with those of "
                f'{saved}, add accept: {{{PACKAGE}: "{minor(saved)}"}} to this version in the '
                f"job file. Or {in_environment(file, saved)}"
            )
    if others:
        return SklearnModel(estimator, {PACKAGE: others[-1]})
    is_sklearn = isinstance(estimator, BaseEstimator)
    return SklearnModel(estimator, {PACKAGE: str(installed)} if is_sklearn else {})


def in_environment(file: ModelFile, release: str | None) -> str:
    """Return the advice to score a model where its own scikit-learn is."""
    if file.format == "mlflow":
        return (
            "environment: model in this version of the job file scores it as it is, with the "
            "Python and the packages that it asks for itself"
        )
    if release is None:
        return (
            'environment: {python: "3.9", requirements: […]} in this version of the job file, with '
            "the packages that it was trained with, scores it as it is in a Python of its own"
        )
    python = python_for(release)
    line = f"{PACKAGE}=={release if python else OLDEST}"
    advice = (
        f'environment: {{python: "{python or WHEELS[-1][1]}", requirements: [{line}]}} in this '
        "version of the job file scores it as it is in a Python of its own"
    )
    return advice if python else f"{advice}, {with_oldest(release)}"


def with_oldest(release: str) -> str:
    """Return what is to be said of a release that no Python of an environment has a wheel of."""
    return (
        f'together with accept: {{{PACKAGE}: "{minor(release)}"}}, if you have compared its '
        f"predictions: there is no {release} for Python {WHEELS[-1][1]} or later, and {OLDEST} "
        "still knows the modules of its classes"
    )


def python_for(release: str) -> str | None:
    """Return a Python that has wheels of this scikit-learn; None where it is older than all."""
    numbers = tuple(int(n) for n in minor(release).split("."))
    return next((python for first, python in WHEELS if numbers >= first), None)


def minor(version: str) -> str:
    """Return major and minor of a release, such as ``1.2``."""
    match = re.match(r"\d+\.\d+", version)
    return match.group() if match else version
