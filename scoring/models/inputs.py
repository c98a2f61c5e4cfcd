"""What a model is given: the DataFrame itself, a list of records, or an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from scoring.models.base import Model
    from scoring.models.trees.attach import Attached

FORMS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "frame": lambda frame: frame,
    "records": lambda frame: frame.to_dict(orient="records"),
    "array": lambda frame: frame.to_numpy(),
}


class ModelWithInput:
    """``model``, given its rows in another form than a DataFrame; a ``Model``."""

    def __init__(self, model: Model, form: str) -> None:
        self._model = model
        self._form = FORMS[form]

    @property
    def inputs(self) -> list[str] | None:
        return self._model.inputs

    @property
    def classes(self) -> list[Any] | None:
        return self._model.classes

    @property
    def runtime_versions(self) -> dict[str, str]:
        return self._model.runtime_versions

    @property
    def native(self) -> Any:
        return self._model.native

    @property
    def ensembles(self) -> Sequence[Attached]:
        return getattr(self._model, "ensembles", ())

    def predict(self, frame: pd.DataFrame) -> Any:
        return self._model.predict(self._form(frame))

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return self._model.predict_proba(self._form(frame))
