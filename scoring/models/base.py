"""What a model is for the engine, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict

from scoring.job.inputs import ColumnConfig

if TYPE_CHECKING:
    import pandas as pd

    from scoring.models.folders import LocalCopy


class RegisteredModel(BaseModel):
    """A version in an MLflow registry: the one that its number names, and none other ever will.

    ``alias`` is the one that the job asked by, ``run_id`` the run that logged it, ``source`` where
    its files lie.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    number: str
    alias: str | None
    run_id: str | None
    source: str


class ProfileFile(BaseModel):
    """The training profile of a model version: which bytes it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str
    sha256: str


class EnvironmentSpec(BaseModel):
    """The environment that a model is scored in: ``requirements`` is the text of the lines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: str
    requirements: str
    variables: tuple[str, ...] = ()
    timeout_seconds: float


class ModelFile(BaseModel):
    """Which bytes are the model: the job's version, where they lie, their digest and format.

    ``accept`` has the releases of libraries that may have saved it although others are installed;
    ``files`` are the further artifacts that the job's scorer is given, by name; ``environment`` is
    where it is scored, None for this process; ``inputs`` are those of its signature, None where the
    job lists its own; ``profile`` is what it was trained on.  A ``uri`` with a ``/`` at its end is a folder, whose
    digest is ``scoring.models.folders.tree_digest``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    name: str
    version: str
    uri: str
    sha256: str
    format: str
    accept: dict[str, str] = {}
    files: dict[str, ModelFile] = {}
    environment: EnvironmentSpec | None = None
    inputs: dict[str, ColumnConfig] | None = None
    registered: RegisteredModel | None = None
    profile: ProfileFile | None = None

    @property
    def is_folder(self) -> bool:
        return self.registered is not None or self.uri.endswith("/")


class Model(Protocol):
    """A model in memory.

    It is given DataFrames. One whose rows go elsewhere may have ``features_of(table, columns)``: what
    that returns of an Arrow table in the contract's types takes the place of the DataFrame. One made of
    ensembles of trees may have ``ensembles``, which say what evaluates them
    (``scoring.models.trees.attach``).
    """

    @property
    def inputs(self) -> list[str] | None:
        """The columns it was trained with, in its order; None where it does not say."""

    @property
    def classes(self) -> list[Any] | None:
        """The labels of the columns of ``predict_proba``; None for a model without it."""

    @property
    def runtime_versions(self) -> dict[str, str]:
        """The releases of the libraries that saved it, such as ``{"scikit-learn": "1.9.0"}``."""

    @property
    def native(self) -> Any:
        """The library's own object, which a job's scorer is given."""

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return one value for each row of ``frame``, in its order.

        A job's scorer returns a DataFrame instead, with a column for each output.
        """

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """Return a row of probabilities for each row of ``frame``, one for each of ``classes``."""


class Loader(Protocol):
    """A model kind: makes a model of the bytes of its file."""

    def __call__(self, data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
        """Return the model in ``data``, with the digest that the job pins.

        Raises ModelError, which names ``file.uri``, where it cannot be trusted or loaded.
        """


class FolderLoader(Protocol):
    """A model kind whose model is a folder: makes a model of a local copy of verified bytes."""

    def __call__(self, folder: LocalCopy, file: ModelFile, trusted_types: Sequence[str]) -> Model:
        """Return the model in ``folder``, which it closes, or which the model holds on to.

        Raises ModelError, which names ``file.uri``, where it cannot be trusted or loaded.
        """
