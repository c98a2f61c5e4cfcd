"""CatBoost's own files: the predictions of its own classes, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pandas as pd
import pytest

from scoring.errors import ModelError, ScorerError
from scoring.models.catboost import load
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
)

OPTIONS: dict[str, Any] = {
    "iterations": 12, "depth": 4, "verbose": 0, "thread_count": 1, "allow_writing_files": False,
}  # fmt: skip
FRAME = native_files.FRAME.assign(zone=native_files.FRAME["zone"].fillna("nowhere"))
X = FRAME.drop(columns="id")


def regressor(**options: Any) -> Any:
    return catboost.CatBoostRegressor(**OPTIONS | {"cat_features": ["zone"]} | options).fit(
        X, TARGET
    )


def classifier(target: Any = CLASS, **options: Any) -> Any:
    return catboost.CatBoostClassifier(**OPTIONS, cat_features=["zone"], **options).fit(X, target)


def saved(model: Any, folder: Path, name: str = "model.cbm") -> bytes:
    model.save_model(str(folder / name), format=name.rpartition(".")[2])
    return (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["v1.cbm", "v1.json"])
def test_a_regressor_predicts_as_its_own_library(empty: Place, tmp_path: Path, name: str):
    model = regressor()
    data = saved(model, tmp_path, name)
    manifest = publish(empty, data, name, frame=FRAME, format="catboost")
    if name == "v1.json":  # which rounds numbers
        path, model = str(tmp_path / name), catboost.CatBoostRegressor()
        model.load_model(path, format="json")
    assert same_bits(column(manifest), model.predict(as_pandas_reads_it(empty)))
    assert same_bits(column(manifest), model.predict(X))
    assert manifest.model.runtime_versions["catboost"] == catboost.__version__


def test_the_release_that_saved_the_file_is_known(tmp_path: Path):
    model = load(saved(regressor(), tmp_path), model_file("catboost"), [])
    assert model.runtime_versions["catboost (saved by)"] == catboost.__version__


@pytest.mark.parametrize(
    "target", [CLASS, THREE, np.where(CLASS, "late", "early"), np.array([7, 3, 5])[THREE]],
    ids=["two", "three", "texts", "numbers"],
)  # fmt: skip
def test_a_classifier_predicts_labels_and_probabilities(empty: Place, tmp_path: Path, target: Any):
    model = classifier(target)
    labels = model.classes_.tolist()
    assert labels == sorted(set(target.tolist()))
    wanted = {f"p_{label}": label for label in labels}
    data = saved(model, tmp_path)
    manifest = publish(empty, data, "v1.cbm", frame=FRAME, probabilities=wanted)
    expected = model.predict_proba(X)
    for number, name in enumerate(wanted):
        assert same_bits(column(manifest, name), np.ascontiguousarray(expected[:, number]))
    assert column(manifest).tolist() == model.predict(X).ravel().tolist()


def test_a_loss_with_a_link_predicts_its_mean(tmp_path: Path):
    model = regressor(loss_function="Poisson")
    loaded = load(saved(model, tmp_path), model_file("catboost"), [])
    assert same_bits(loaded.predict(X), model.predict(X))
    assert same_bits(model.predict(X), model.predict(X, prediction_type="Exponent"))


def test_an_unknown_category_is_what_catboost_takes_it_for(empty: Place, tmp_path: Path):
    model = regressor()
    frame = FRAME.assign(zone=FRAME["zone"].replace("nord", "unheard of"))
    manifest = publish(empty, saved(model, tmp_path), "v1.cbm", frame=frame)
    expected = model.predict(frame.drop(columns="id"))
    assert same_bits(column(manifest), expected)
    assert not same_bits(expected, model.predict(X))


def test_a_null_in_a_category_is_an_error_as_in_catboost(empty: Place, tmp_path: Path):
    model = regressor()
    frame = native_files.FRAME.assign(zone=native_files.FRAME["zone"].fillna(np.nan))
    with pytest.raises(catboost.CatBoostError, match="must be integer or string"):
        model.predict(frame.drop(columns="id"))
    with pytest.raises(ScorerError, match=r"'zone' has a null.*inputs.zone quarantines such rows"):
        publish(empty, saved(model, tmp_path), "v1.cbm", frame=frame)


def test_categories_that_are_numbers_and_may_be_null(tmp_path: Path):
    options = {"cat_features": ["zone", "day"]}
    model = regressor(**options)
    loaded = load(saved(model, tmp_path), model_file("catboost"), [])
    assert same_bits(loaded.predict(X), model.predict(X))
    assert same_bits(loaded.predict(X.assign(day=X["day"].astype(float))), model.predict(X))
    with pytest.raises(ScorerError, match=r"'day' has 5.5, .*not a whole number"):
        loaded.predict(X.assign(day=X["day"] + 0.5))


def test_a_row_alone_has_the_bits_of_the_row_among_others(tmp_path: Path):
    check_alone_as_together(load(saved(regressor(), tmp_path), model_file("catboost"), []), X)
    model = load(saved(classifier(THREE), tmp_path), model_file("catboost"), [])
    check_alone_as_together(model, X, probabilities={"p0": 0, "p1": 1, "p2": 2})


def test_a_model_of_an_array_takes_columns_by_position(empty: Place, tmp_path: Path):
    numbers = X[["distance", "day"]]
    model = catboost.CatBoostRegressor(**OPTIONS).fit(numbers.to_numpy(), TARGET)
    data = saved(model, tmp_path)
    assert load(data, model_file("catboost"), []).inputs is None
    inputs = {name: INPUTS[name] for name in numbers}
    manifest = publish(empty, data, "v1.cbm", inputs)
    assert same_bits(column(manifest), model.predict(numbers.to_numpy()))
    with pytest.raises(ModelError, match=r"was trained with 2 columns, .* inputs are 1: distance"):
        publish(empty, data, "v1.cbm", {"distance": INPUTS["distance"]})
    swapped = {"zone": INPUTS["zone"], "day": INPUTS["day"]}
    with pytest.raises(ModelError, match="'zone' is text"):
        publish(empty, data, "v1.cbm", swapped)


def test_booleans_that_may_be_null(tmp_path: Path):
    frame = pd.DataFrame({"flag": pd.Series([True, False, np.nan] * 100, dtype=object)})
    model = catboost.CatBoostRegressor(**OPTIONS).fit(frame.astype(float), TARGET)
    loaded = load(saved(model, tmp_path), model_file("catboost"), [])
    assert same_bits(loaded.predict(frame), model.predict(frame.astype(float)))


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path):
    whole = saved(regressor(), tmp_path)
    json = saved(regressor(), tmp_path, "model.json")
    for data in (
        whole[: len(whole) // 2],
        whole[:-300],
        whole[:10],
        json[: len(json) // 2],
        b"{}",
        b"",
    ):
        with pytest.raises(ModelError, match="is not a CatBoost model that can be loaded") as found:
            load(data, model_file("catboost"), [])
        assert "\n" not in str(found.value)
