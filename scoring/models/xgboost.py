"""XGBoost's JSON and UBJSON files, as ``save_model`` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from scoring.errors import ModelError, needs_extra
from scoring.models import native
from scoring.models.base import Model, ModelFile
from scoring.models.sklearn import several_outputs
from scoring.models.xgboost_trees import check_model

if TYPE_CHECKING:
    import pandas as pd

SOFTMAX = "multi:softmax"
CLASSIFIERS = ("binary:logistic", "multi:softprob", SOFTMAX)
"""The objectives whose predictions are probabilities of classes, or could be."""


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``data``; see ``scoring.models.base.Loader``."""
    with needs_extra("xgboost", "XGBoost files"):
        import xgboost
    if not data.lstrip()[:1] == b"{":
        raise native.unreadable(
            file,
            "it is neither JSON nor UBJSON. The binary format of old releases is not read: load it "
            "with XGBoost 3.0 or older, and save_model('model.ubj')",
        )
    booster = xgboost.Booster({"nthread": 1})  # a process for each core works already
    try:
        check_model(data)
        booster.load_model(bytearray(data))
        config = json.loads(booster.save_config())
        return XGBoostModel(booster, config, file, str(xgboost.__version__))
    except (ValueError, KeyError, TypeError, xgboost.core.XGBoostError) as error:
        raise native.unreadable(file, error) from error


class XGBoostModel:
    """A booster; a ``Model`` whose predictions are those of ``XGBClassifier``, ``XGBRegressor``.

    The file has no labels of classes: they are 0 to n-1, with which XGBoost was trained.  A booster
    that was saved by one of these predicts as it does, by the trees up to its best iteration; any
    other one by all trees, as ``Booster.predict``.
    """

    def __init__(self, booster: Any, config: dict[str, Any], file: ModelFile, version: str) -> None:
        self.native = booster
        self._file = file
        learner = config["learner"]
        self._objective: str = learner["objective"]["name"]
        sizes = learner["learner_model_param"]
        self._targets, self._classes = int(sizes["num_target"]), int(sizes["num_class"])
        is_linear = learner["gradient_booster"]["name"] == "gblinear"
        self._as_wrapper = booster.attr("scikit_learn") is not None and not is_linear
        best = booster.attr("best_iteration")
        self._trees = (0, int(best) + 1) if self._as_wrapper and best is not None else (0, 0)
        saved = ".".join(str(part) for part in config["version"])
        self.runtime_versions = {"xgboost": version, "xgboost (saved by)": saved}

    @property
    def inputs(self) -> list[str] | None:
        names: list[str] | None = self.native.feature_names
        return None if not names or native.invented(names, "f") else names

    @property
    def classes(self) -> list[Any] | None:
        if self._objective not in CLASSIFIERS:
            return None
        if self._targets > 1:
            raise several_outputs("XGBoost's classifier", self._targets)
        return [*range(max(2, self._classes))]

    def predict(self, frame: pd.DataFrame) -> Any:
        if self.classes is None:
            return self._values(frame)
        if self._objective == SOFTMAX:
            return self._values(frame).astype("int32")
        values = self._values(frame)
        return values.argmax(axis=1) if values.ndim > 1 else (values > 0.5).astype("int64")

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        if self._objective == SOFTMAX:
            from scipy.special import softmax

            return softmax(self._values(frame, margin=True), axis=1)
        values = self._values(frame)
        return values if values.ndim > 1 else native.of_two(values)

    def _values(self, frame: pd.DataFrame, margin: bool = False) -> Any:
        """Return what the booster predicts; with ``margin``, before it becomes probabilities."""
        from xgboost import DMatrix

        features = self._features(frame)
        if self._as_wrapper:  # of darts, it adds trees up in another order than ``predict``
            kind = "margin" if margin else "value"
            return self.native.inplace_predict(
                features, iteration_range=self._trees, predict_type=kind
            )
        matrix = DMatrix(features, nthread=1, enable_categorical=True)
        return self.native.predict(matrix, output_margin=margin)

    @property
    def width(self) -> int:
        """How many columns it was trained with."""
        return int(self.native.num_features())

    def _features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return ``frame`` with the model's own categories, under the model's own names."""
        frame = native.frame_of(frame, self._file, self.width)
        columns = {}
        for position, name in enumerate(frame.columns):
            column = native.numbers(frame[name])
            categories = self._categories.get(position)
            if categories is not None:
                unknown = column[column.notna() & ~column.isin(categories)]
                if len(unknown):
                    raise native.unknown_category(
                        name,
                        unknown.iloc[0],
                        f"which XGBoost did not see there when {self._file.uri} was trained; it "
                        "predicts nothing for it",
                    )
                column = native.in_categories(column, categories)
            elif column.dtype == object:
                raise native.strings_without_categories(
                    name,
                    self._file,
                    "Train it with that column as pandas' category and save it with XGBoost 3.1 or "
                    "later, whose files keep the values, or make numbers of the texts with "
                    "source.derive",
                )
            columns[name] = column
        features = frame.assign(**columns)
        named = self.native.feature_names
        if named and self.inputs is None:
            features.columns = named
        return features

    @cached_property
    def _categories(self) -> dict[int, list[Any]]:
        """The categories of features, by position, that the file has."""
        categorical = "c" in (self.native.feature_types or [])
        if not categorical or not hasattr(self.native, "get_categories"):  # XGBoost 3.0 keeps none
            return {}
        found = self.native.get_categories(export_to_arrow=True).to_arrow()
        return {
            position: self._category_list(name, values)
            for position, (name, values) in enumerate(found)
            if values is not None
        }

    def _category_list(self, name: str, values: Any) -> list[Any]:
        """Return the categories of a feature; ModelError where XGBoost has cut them off.

        XGBoost 3.2 counts characters where it should count bytes: of ``süd``, the file has ``sü``,
        and the categories after it begin too early.  The first letter beyond ASCII is always there.
        """
        texts = str(values.type) in ("string", "large_string")
        if texts and not all(buffer_is_ascii(b) for b in values.buffers()[2:]):
            raise ModelError(
                f"{self._file.uri} has categories of {name!r} with letters beyond ASCII, which "
                "XGBoost cuts off when it trains; nothing was scored. Train it with categories in "
                "ASCII, or make numbers of the texts with source.derive"
            )
        found: list[Any] = values.to_pylist()
        return found


def buffer_is_ascii(buffer: Any) -> bool:
    return buffer is None or bytes(buffer).isascii()
