"""CatBoost's files, as ``save_model`` writes them: cbm, or JSON."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoring.errors import needs_extra
from scoring.models import native
from scoring.models.base import Model, ModelFile

if TYPE_CHECKING:
    import pandas as pd

_RELEASE = re.compile(r"CatBoost release (\d+\.\d+(?:\.\d+)*)")


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``data``; see ``scoring.models.base.Loader``."""
    with needs_extra("catboost", "CatBoost files"):
        import catboost
    try:
        _check_length(data)
        model = _loaded(catboost.CatBoost(), data)
        if not model.tree_count_:
            raise ValueError("it has no trees")
        if len(model.classes_):
            model = _loaded(catboost.CatBoostClassifier(), data)
        elif loss := model.get_all_params().get("loss_function"):
            # Some losses predict by way of a link, of which a model without its loss knows nothing.
            model = _loaded(catboost.CatBoostRegressor(loss_function=loss), data)
        return CatBoostModel(model, file, str(catboost.__version__))
    except (ValueError, TypeError, catboost.CatBoostError) as error:
        raise native.unreadable(file, error) from error


def _check_length(data: bytes) -> None:
    """Raise ValueError for a cbm file that was cut off: CatBoost believes its length, and crashes.

    After four bytes of magic, four say how long the core of the model is (``TFullModel::Save`` in
    CatBoost's catboost/libs/model/model.cpp).
    """
    if data.startswith(b"CBM1") and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise ValueError("it is shorter than it says")


def _loaded(model: Any, data: bytes) -> Any:
    if data.startswith(b"CBM1"):
        return model.load_model(blob=data)
    with tempfile.NamedTemporaryFile(suffix=".json") as copy:  # JSON is read from a file only
        Path(copy.name).write_bytes(data)
        return model.load_model(copy.name, format="json")


class CatBoostModel:
    """A ``CatBoostClassifier`` or ``CatBoostRegressor``; a ``Model`` with its predictions.

    Classes are the labels in the file.  A null, and a number with a fraction, in a categorical column
    is an error, as CatBoost refuses them.
    """

    def __init__(self, model: Any, file: ModelFile, version: str) -> None:
        self.native = model
        self._file = file
        self.runtime_versions = {"catboost": version}
        saved = _RELEASE.search(dict(model.get_metadata()).get("catboost_version_info", ""))
        if saved:
            self.runtime_versions["catboost (saved by)"] = saved[1]

    @cached_property
    def inputs(self) -> list[str] | None:
        names: list[str] = self.native.feature_names_
        return None if native.invented(names, "") else names

    @cached_property
    def classes(self) -> list[Any] | None:
        labels = [c.item() if isinstance(c, np.generic) else c for c in self.native.classes_]
        return labels or None

    def predict(self, frame: pd.DataFrame) -> Any:
        return self.native.predict(self._features(frame), thread_count=1)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return self.native.predict_proba(self._features(frame), thread_count=1)

    @property
    def width(self) -> int:
        """How many columns it was trained with."""
        return len(self.native.feature_names_)

    def _features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return ``frame`` with categorical columns of texts and whole numbers."""
        frame = native.frame_of(frame, self._file, self.width)
        categorical = {*self.native.get_cat_feature_indices()}
        texts = {*self.native.get_text_feature_indices()}
        columns = {}
        for position, name in enumerate(frame.columns):
            column = frame[name]
            if position in categorical:
                column = self._categorical(column, name)
            elif position not in texts:
                column = native.numbers(column)
                if column.dtype == object:
                    raise native.strings_without_categories(
                        name, self._file, "It was trained with numbers there"
                    )
            columns[name] = column
        return frame.assign(**columns)

    def _categorical(self, column: pd.Series, name: str) -> pd.Series:
        if column.isna().any():
            raise native.null_category(
                name, f"which CatBoost refuses in the categorical features of {self._file.uri}"
            )
        if column.dtype.kind != "f":
            return column
        broken = column[column != np.floor(column)]
        if len(broken):
            raise native.unknown_category(
                name,
                broken.iloc[0],
                "which CatBoost refuses as a category: it is not a whole number",
            )
        return column.astype("int64")  # integers that may be null are floats in the frame
