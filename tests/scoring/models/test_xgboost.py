"""XGBoost's own files: the predictions of its own classes, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost

from scoring.errors import ModelError, ScorerError
from scoring.models.xgboost import load
from tests.scoring.factories import Place
from tests.scoring.models import native_files
from tests.scoring.models.native_files import (
    CLASS,
    INPUTS,
    TARGET,
    THREE,
    as_pandas_reads_it,
    check_alone_as_together,
    column,
    model_file,
    publish,
    same_bits,
    stored_type,
)

OPTIONS: dict[str, Any] = {
    "n_estimators": 12,
    "max_depth": 4,
    "n_jobs": 1,
    "enable_categorical": True,
}
FRAME = native_files.FRAME.assign(zone=native_files.FRAME["zone"].replace("süd", "sued"))
X = FRAME.drop(columns="id")
Z = X.assign(zone=X["zone"].astype("category"))


def regressor(**options: Any) -> Any:
    return xgboost.XGBRegressor(**OPTIONS | options).fit(Z, TARGET)


def classifier(target: Any = CLASS, **options: Any) -> Any:
    return xgboost.XGBClassifier(**OPTIONS | options).fit(Z, target)


def saved(model: Any, folder: Path, name: str = "model.ubj") -> bytes:
    model.save_model(folder / name)
    return (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["v1.ubj", "v1.json"])
def test_a_regressor_predicts_as_its_own_library(empty: Place, tmp_path: Path, name: str):
    model = regressor()
    manifest = publish(empty, saved(model, tmp_path, name), name, frame=FRAME, format="xgboost")
    frame = as_pandas_reads_it(empty)
    expected = model.predict(frame.assign(zone=frame["zone"].astype("category")))
    assert same_bits(column(manifest), expected)
    matrix = xgboost.DMatrix(Z, enable_categorical=True)
    assert same_bits(expected, model.get_booster().predict(matrix))
    assert stored_type(manifest) == "float"
    assert manifest.model.runtime_versions == {
        "xgboost": xgboost.__version__,
        "xgboost (saved by)": xgboost.__version__,
    }


@pytest.mark.parametrize("target", [CLASS, THREE], ids=["two", "three"])
def test_a_classifier_predicts_classes_and_probabilities(empty: Place, tmp_path: Path, target: Any):
    model = classifier(target)
    wanted = {f"p{label}": label for label in sorted(set(target.tolist()))}
    manifest = publish(empty, saved(model, tmp_path), "v1.ubj", frame=FRAME, probabilities=wanted)
    expected = model.predict_proba(Z)
    for name, label in wanted.items():
        assert same_bits(column(manifest, name), np.ascontiguousarray(expected[:, label]))
    assert same_bits(column(manifest), model.predict(Z))


def test_softmax_predicts_labels_and_has_probabilities(tmp_path: Path):
    model = classifier(THREE)
    parameters = {"objective": "multi:softmax", "num_class": 3, "max_depth": 3, "nthread": 1}
    matrix = xgboost.DMatrix(Z, THREE, enable_categorical=True)
    booster = xgboost.train(parameters, matrix, 5)
    loaded = load(saved(booster, tmp_path), model_file("xgboost"), [])
    assert loaded.predict(X).tolist() == booster.predict(matrix).tolist()
    model.load_model(bytearray(booster.save_raw("ubj")))
    assert same_bits(loaded.predict_proba(X), model.predict_proba(Z))


def test_the_best_iteration_counts_where_the_wrapper_saved_the_file(tmp_path: Path):
    rounds = {"n_estimators": 80, "early_stopping_rounds": 3, "learning_rate": 0.9}
    noise = np.random.default_rng(1).normal(size=len(Z)) * 10
    model = xgboost.XGBRegressor(**OPTIONS | rounds)
    model.fit(Z[:200], (TARGET + noise)[:200], eval_set=[(Z[200:], TARGET[200:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    loaded = load(saved(model, tmp_path), model_file("xgboost"), [])
    assert same_bits(loaded.predict(X), model.predict(Z))
    booster = model.get_booster()
    native = load(saved(booster, tmp_path), model_file("xgboost"), [])
    matrix = xgboost.DMatrix(Z, enable_categorical=True)
    assert same_bits(native.predict(X), booster.predict(matrix))
    assert not same_bits(native.predict(X), model.predict(Z))


def test_an_unknown_category_is_an_error_as_in_xgboost(empty: Place, tmp_path: Path):
    model = regressor()
    frame = FRAME.assign(zone=FRAME["zone"].replace("nord", "unheard of"))
    with pytest.raises(xgboost.core.XGBoostError, match="category not in the training set"):
        model.predict(Z.assign(zone=frame["zone"].astype("category")))
    with pytest.raises(ScorerError, match=r"'zone' has 'unheard of'.*inputs.zone.allowed"):
        publish(empty, saved(model, tmp_path), "v1.ubj", frame=frame)
    allowed = INPUTS | {"zone": INPUTS["zone"] | {"allowed": ["mitte", "nord", "sued"]}}
    manifest = publish(empty, saved(model, tmp_path), "v1.ubj", allowed, frame=frame)
    known = Z[frame["zone"] != "unheard of"]
    assert same_bits(column(manifest), model.predict(known))


def test_categories_are_those_of_the_model_and_never_those_of_the_batch(tmp_path: Path):
    model = load(saved(regressor(), tmp_path), model_file("xgboost"), [])
    check_alone_as_together(model, X)
    check_alone_as_together(model, X[X["zone"] == "sued"].reset_index(drop=True))
    model = load(saved(classifier(THREE), tmp_path), model_file("xgboost"), [])
    check_alone_as_together(model, X, probabilities={"p0": 0, "p1": 1, "p2": 2})


def test_categories_that_are_numbers_and_may_be_null(tmp_path: Path):
    frame = Z.assign(day=X["day"].astype("category"))
    model = xgboost.XGBRegressor(**OPTIONS).fit(frame, TARGET)
    loaded = load(saved(model, tmp_path), model_file("xgboost"), [])
    assert same_bits(loaded.predict(X), model.predict(frame))
    with_nulls = X["day"].astype(float).where(X["day"] != 3)
    codes = pd.Categorical.from_codes(
        with_nulls.fillna(-1).astype(int), categories=frame["day"].cat.categories
    )
    assert same_bits(
        loaded.predict(X.assign(day=with_nulls)), model.predict(frame.assign(day=codes))
    )


@pytest.mark.parametrize("names", [None, ["f0", "f1"]])
def test_a_model_of_an_array_takes_columns_by_position(
    empty: Place, tmp_path: Path, names: list[str] | None
):
    numbers = X[["distance", "day"]]
    matrix = xgboost.DMatrix(numbers.to_numpy(), TARGET, feature_names=names)
    model = xgboost.train({"max_depth": 3}, matrix, 5)
    data = saved(model, tmp_path)
    assert load(data, model_file("xgboost"), []).inputs is None
    manifest = publish(empty, data, "v1.ubj", {name: INPUTS[name] for name in numbers})
    assert same_bits(column(manifest), model.predict(matrix))
    with pytest.raises(ModelError, match=r"was trained with 2 columns, .* inputs are 1: distance"):
        publish(empty, data, "v1.ubj", {"distance": INPUTS["distance"]})


def test_linear_boosters_and_darts(tmp_path: Path):
    numbers = X[["distance", "day"]].fillna(0.0)
    for kind in ("gblinear", "dart"):
        model = xgboost.XGBRegressor(n_estimators=12, n_jobs=1, booster=kind).fit(numbers, TARGET)
        loaded = load(saved(model, tmp_path), model_file("xgboost"), [])
        assert same_bits(loaded.predict(numbers), model.predict(numbers))


def test_text_without_categories_in_the_file_is_refused(empty: Place, tmp_path: Path):
    model = xgboost.XGBRegressor(**OPTIONS).fit(X.assign(zone=Z["zone"].cat.codes), TARGET)
    with pytest.raises(ModelError, match=r"'zone' is text, and .* does not say which categories"):
        publish(empty, saved(model, tmp_path), "v1.ubj")


def test_several_outputs_are_refused(tmp_path: Path):
    numbers = X[["distance", "day"]]
    model = xgboost.XGBClassifier(**OPTIONS).fit(numbers, np.column_stack([CLASS, 1 - CLASS]))
    with pytest.raises(ModelError, match="predicts 2 outputs at once"):
        load(saved(model, tmp_path), model_file("xgboost"), []).predict(numbers)


def test_an_objective_of_its_own_gives_its_raw_scores(tmp_path: Path):
    def squares(y: Any, predicted: Any) -> Any:
        return predicted - y, np.ones_like(y)

    model = xgboost.XGBRegressor(**OPTIONS | {"objective": squares}).fit(Z, TARGET)
    loaded = load(saved(model, tmp_path), model_file("xgboost"), [])
    assert loaded.classes is None
    assert same_bits(loaded.predict(X), model.predict(Z))


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path):
    whole = saved(regressor(), tmp_path, "model.json")
    learner = json.loads(whole)
    learner["learner"]["gradient_booster"]["name"] = "gbforest"
    binary = saved(regressor(), tmp_path)
    for data in (
        whole[: len(whole) // 2],
        json.dumps(learner).encode(),
        b'{"learner": {"gradient_booster": {}}}',
        b"{}",
        binary[: len(binary) // 2],
        b"binf" + bytes(200),
        b"",
    ):
        with pytest.raises(ModelError, match="is not an XGBoost model that can be loaded") as found:
            load(data, model_file("xgboost"), [])
        assert "\n" not in str(found.value)
        assert "/workspace" not in str(found.value)


def test_the_old_binary_format_is_named():
    with pytest.raises(
        ModelError, match=r"binary format of old releases .* save_model\('model.ubj'"
    ):
        load(b"binf" + bytes(200), model_file("xgboost"), [])


@pytest.mark.parametrize("categories", [["süd", "west"], ["a", "abü"], ["mitte", "日本"]])
def test_categories_that_xgboost_cuts_off_are_refused(tmp_path: Path, categories: list[str]):
    zones = pd.Series(categories * (len(X) // 2), dtype=object)
    model = xgboost.XGBRegressor(**OPTIONS).fit(X.assign(zone=zones.astype("category")), TARGET)
    loaded = load(saved(model, tmp_path), model_file("xgboost"), [])
    with pytest.raises(ModelError, match=r"categories of 'zone' with letters beyond ASCII"):
        loaded.predict(X.assign(zone=zones))
