"""What a model file says of itself: its kind and digest, and once it may be loaded, its inputs.

A file that can run code when it is loaded is loaded only where the user says so.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scoring.errors import ModelError, ScoringError, quoted, raise_if_resource_error
from scoring.job.model import DATA_EXTENSIONS, DATA_FORMATS
from scoring.models.base import Model, ModelFile
from scoring.models.content import kind_of
from scoring.models.features import record_names, refused_categories
from scoring.models.folders import StoredFolder, folder_digest
from scoring.models.mlflow.mlmodel import inputs_of, read_mlmodel
from scoring.models.sklearn import SklearnModel
from scoring.models.skops_archive import untrusted_types
from scoring.registry import MODELS
from scoring.storage.local import LocalStorage

TRUST = (
    "A pickle (joblib) runs code when it is loaded, and so can the types of a skops file that are not "
    "scikit-learn's own: load only what you made yourself, or got from somebody whom you trust"
)
"""What --trust means, in a sentence."""


@dataclass(frozen=True)
class ModelFacts:
    """``kind`` is what a job writes as ``format``. ``model`` is None where the file was not loaded, and
    ``why_not`` says why.

    ``untrusted`` are the types of a skops file that must be trusted by name.  ``may_run_code``:
    only a digest in the job makes it safe to load. ``has_signature``: the model says itself which
    inputs it has. ``known_by_name``: its content does not say its kind.
    """

    path: Path
    kind: str
    sha256: str
    may_run_code: bool
    untrusted: list[str] = field(default_factory=list)
    model: Model | None = None
    why_not: str = ""
    has_signature: bool = False
    known_by_name: bool = False

    @property
    def inputs(self) -> list[str] | None:
        """The columns that it was trained with; None where it does not say."""
        if self.model is None:
            return None
        return self.records or self.model.inputs

    @property
    def records(self) -> list[str] | None:
        """The keys of its records, where it takes a list of dicts."""
        return record_names(self.model.native) if self.model else None

    @property
    def number_of_inputs(self) -> int | None:
        """How many columns it was trained with, where it says no names but that."""
        if self.model is None:
            return None
        own = getattr(self.model, "width", None)  # of a model in a file of its own library
        found = getattr(self.model.native, "n_features_in_", own)
        return found if isinstance(found, int) else None

    @property
    def classes(self) -> list[Any]:
        """The classes that it gives probabilities of; none for a regressor."""
        if self.model is None:
            return []
        try:
            return self.model.classes or []
        except (ModelError, AttributeError):  # several outputs; or no estimator
            return []

    @property
    def categories(self) -> dict[str, list[Any]]:
        """The only values by input that it takes, where it fails for others."""
        return refused_categories(self.model.native) if self.model else {}

    @property
    def lacks_predict(self) -> bool:
        """Whether it is something that only a scorer can use."""
        if not isinstance(self.model, SklearnModel):
            return False
        return not callable(getattr(self.model.native, "predict", None))

    @property
    def needs_format(self) -> bool:
        """Whether a job has to say the kind: a digest is not needed for data, if its name does not say
        that it is, and a pickle of an old protocol is not known by its content.
        """
        suffix = self.path.suffix.removeprefix(".")
        if self.kind in DATA_FORMATS:
            return suffix not in DATA_EXTENSIONS
        return self.known_by_name and suffix not in MODELS

    def predicts(self, frame: pd.DataFrame) -> bool | None:
        """Return whether it predicts ``frame``; None where nobody can say, as it was not loaded."""
        if self.model is None or self.lacks_predict:
            return None
        rows: Any = frame.to_dict("records") if self.records else frame
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.model.predict(rows)
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not predict them
            raise_if_resource_error(error)
            return False
        return True


def look_into(path: Path, *, trust: bool) -> ModelFacts:
    """Return what the model at ``path``, a file or an MLflow folder, says of itself.

    Loads it if nothing in it can run code, or with ``trust``.  Raises ModelError for what is not a
    model file.
    """
    if path.is_dir():
        return _folder(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise_if_resource_error(error)
        raise ModelError(f"the model {path} cannot be read: {error.strerror}") from None
    suffix = path.suffix.removeprefix(".")
    if suffix in ("pkl", "pickle"):  # of protocol 0 or 1, which has no first bytes of its own
        suffix = "joblib"
    by_content = kind_of(data)
    kind = by_content or (suffix if suffix in MODELS else None)
    if kind is None:
        raise ModelError(
            f"{path} is neither a skops nor a pickle or joblib file by its first bytes, nor one of "
            f"{', '.join(MODELS.names())} by its name"
        )
    digest, untrusted = hashlib.sha256(data).hexdigest(), _untrusted(data, path, kind)
    may_run_code, by_name = kind not in DATA_FORMATS, by_content is None
    facts = ModelFacts(path, kind, digest, may_run_code, untrusted, known_by_name=by_name)
    if not trust and (untrusted or facts.may_run_code):
        why = f"it has types that must be trusted: {', '.join(untrusted)}" if untrusted else TRUST
        return replace(facts, why_not=f"it was not loaded without --trust. {why}")
    file = ModelFile(name=path.stem, version="v1", uri=str(path), sha256=digest, format=kind)
    try:
        model: Model = MODELS.load(kind)(data, file, untrusted)
    except ScoringError as error:
        return replace(facts, why_not=f"it could not be loaded here: {error}")
    return replace(facts, model=model)


def _untrusted(data: bytes, path: Path, kind: str) -> list[str]:
    """Return the types of a skops file that are not trusted by default, without loading it."""
    if kind != "skops":
        return []
    try:
        return sorted(untrusted_types(data))
    except Exception as error:
        raise_if_resource_error(error)
        raise ModelError(
            f"{path} is not a skops file that can be read here: "
            f"{type(error).__name__}: {quoted(str(error), 200)}"
        ) from error


def _folder(path: Path) -> ModelFacts:
    """Return what an MLflow folder says: its signature is the contract, and nothing is loaded."""
    uri = f"{path.absolute()}/"
    folder = StoredFolder(uri, LocalStorage())
    digest = folder_digest(folder, uri)
    model = read_mlmodel(folder, uri)
    try:
        signature = bool(inputs_of(model, uri))
    except ModelError:  # of other columns than a table has, or without a signature
        signature = False
    return ModelFacts(
        path,
        "mlflow",
        digest,
        may_run_code=True,
        why_not="it is an MLflow folder, whose signature is the contract",
        has_signature=signature,
    )
