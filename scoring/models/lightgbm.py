"""LightGBM's text files, as ``Booster.save_model`` writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scoring.errors import ModelError, needs_extra
from scoring.models import native
from scoring.models.base import Model, ModelFile
from scoring.models.lightgbm_text import check_text

if TYPE_CHECKING:
    import pandas as pd

CLASSIFIERS = ("binary", "multiclass", "multiclassova")
"""The objectives whose predictions are probabilities of classes."""


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``data``; see ``scoring.models.base.Loader``."""
    with needs_extra("lightgbm", "LightGBM files"):
        import lightgbm
    try:
        header = check_text(data)
        booster = lightgbm.Booster(model_str=data.decode())
    except (ValueError, lightgbm.basic.LightGBMError) as error:
        raise native.unreadable(file, error) from error
    return LightGBMModel(booster, file, header, str(lightgbm.__version__))


class LightGBMModel:
    """A booster; a ``Model`` whose predictions are those of ``LGBMClassifier``, ``LGBMRegressor``.

    The file has no labels of classes: they are 0 to n-1, in the order of ``LGBMClassifier.classes_``.
    """

    def __init__(self, booster: Any, file: ModelFile, header: dict[str, str], version: str) -> None:
        self.native = booster
        self.runtime_versions = {"lightgbm": version}
        self._file = file
        self._header = header

    @cached_property
    def inputs(self) -> list[str] | None:
        names: list[str] = self.native.feature_name()
        return None if native.invented(names, "Column_") else names

    @cached_property
    def classes(self) -> list[Any] | None:
        objective = self._header.get("objective", "").split(" ")[0]
        if objective not in CLASSIFIERS:
            return None
        return [*range(max(2, int(self._header.get("num_class", "1"))))]

    def predict(self, frame: pd.DataFrame) -> Any:
        if self.classes is None:
            return self._values(frame)
        return self.predict_proba(frame).argmax(axis=1)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        values = self._values(frame)
        return native.of_two(values) if values.ndim == 1 else values

    def _values(self, frame: pd.DataFrame) -> Any:
        # One thread: a process for each core works already.
        return self.native.predict(self._features(frame), num_threads=1)

    @property
    def width(self) -> int:
        """How many columns it was trained with."""
        return int(self.native.num_feature())

    def _features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return ``frame`` with the codes of the model's own categories."""
        frame = native.frame_of(frame, self._file, self.width)
        columns = {name: native.numbers(frame[name]) for name in frame.columns}
        categories = dict(zip(self._categorical(columns), self._categories, strict=True))
        for name, column in columns.items():
            if name in categories:
                columns[name] = native.in_categories(column, categories[name])
            elif column.dtype == object:
                raise native.strings_without_categories(
                    name,
                    self._file,
                    "Train it with that column as pandas' category, whose values the file keeps, or "
                    "make numbers of the texts with source.derive",
                )
        return frame.assign(**columns)

    @property
    def _categories(self) -> list[list[Any]]:
        return self.native.pandas_categorical or []

    def _categorical(self, columns: dict[str, pd.Series]) -> list[str]:
        """Return the columns of ``_categories``, which the file has without their names.

        They are those of the parameter ``categorical_feature``, and ordered ones, which it omits.
        """
        names, known = list(columns), len(self._categories)
        if not known:
            return []
        listed = re.findall(r"\d+", self._header.get("[categorical_feature", ""))
        marked = {names[int(n)] for n in listed if int(n) < len(names)}
        found = [n for n in names if n in marked]
        if len(found) != known:
            found = [n for n in names if n in marked or columns[n].dtype == object]
        if len(found) != known:
            raise ModelError(
                f"{self._file.uri} has the categories of {known} columns and does not say which; "
                f"{', '.join(found) or 'none'} could be theirs. Nothing was scored. Train it with "
                "unordered categories (pandas' default)"
            )
        return found
