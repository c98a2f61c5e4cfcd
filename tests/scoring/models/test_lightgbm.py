"""LightGBM's own files: the predictions of its own classes, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from scoring.errors import JobError, ModelError
from scoring.models.lightgbm import load
from scoring.models.lightgbm_text import check_text
from tests.scoring.factories import Place
from tests.scoring.models.native_files import (
    CLASS,
    FRAME,
    INPUTS,
    TARGET,
    THREE,
    X,
    as_pandas_reads_it,
    check_alone_as_together,
    column,
    model_file,
    publish,
    same_bits,
)

OPTIONS: dict[str, Any] = {"n_estimators": 12, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}
Z = X.assign(zone=X["zone"].astype("category"))


def regressor(**options: Any) -> Any:
    return lightgbm.LGBMRegressor(**OPTIONS | options).fit(Z, TARGET)


def classifier(target: Any = CLASS) -> Any:
    return lightgbm.LGBMClassifier(**OPTIONS).fit(Z, target)


def text(model: Any) -> bytes:
    found: str = model.booster_.model_to_string()
    return found.encode()


def test_a_regressor_predicts_as_its_own_library(empty: Place):
    model = regressor()
    manifest = publish(empty, text(model), "v1.txt", format="lightgbm")
    frame = as_pandas_reads_it(empty)
    expected = model.predict(frame.assign(zone=frame["zone"].astype("category")))
    assert same_bits(column(manifest), expected)
    assert same_bits(column(manifest), model.booster_.predict(Z))
    assert manifest.model.format == "lightgbm"
    assert manifest.model.runtime_versions == {"lightgbm": lightgbm.__version__}


@pytest.mark.parametrize("target", [CLASS, THREE], ids=["two", "three"])
def test_a_classifier_predicts_classes_and_probabilities(empty: Place, target: Any):
    model = classifier(target)
    classes = sorted(set(target.tolist()))
    wanted = {f"p{label}": label for label in classes}
    manifest = publish(
        empty, text(model), "v1.lightgbm", probabilities=wanted
    )  # known by its name, too
    expected = model.predict_proba(Z)
    for label in classes:
        assert same_bits(column(manifest, f"p{label}"), np.ascontiguousarray(expected[:, label]))
    assert same_bits(column(manifest), model.predict(Z))


def test_labels_are_numbered_as_the_file_does_not_have_them():
    model = load(text(classifier(np.where(CLASS, "late", "early"))), model_file("lightgbm"), [])
    assert model.classes == [0, 1]
    assert model.inputs == [*INPUTS]


def test_an_unknown_category_is_a_null_as_lightgbm_takes_it(empty: Place):
    model = regressor()
    frame = FRAME.assign(zone=FRAME["zone"].replace("nord", "unheard of"))
    manifest = publish(empty, text(model), "v1.txt", frame=frame, format="lightgbm")
    expected = model.predict(Z.assign(zone=frame["zone"].astype("category")))
    assert same_bits(column(manifest), expected)
    nulls = frame["zone"].where(frame["zone"] != "unheard of")
    assert same_bits(expected, model.predict(Z.assign(zone=nulls.astype("category"))))
    assert not same_bits(expected, model.predict(Z))


def test_categories_are_those_of_the_model_and_never_those_of_the_batch():
    model = load(text(regressor()), model_file("lightgbm"), [])
    check_alone_as_together(model, X)
    check_alone_as_together(model, X[X["zone"] == "süd"].reset_index(drop=True))


def test_probabilities_of_a_row_alone_are_those_of_the_row_among_others():
    model = load(text(classifier(THREE)), model_file("lightgbm"), [])
    check_alone_as_together(model, X, probabilities={"p0": 0, "p1": 1, "p2": 2})


def test_a_model_of_an_array_takes_columns_by_position(empty: Place):
    numbers = X[["distance", "day"]]
    model = lightgbm.LGBMRegressor(**OPTIONS).fit(numbers.to_numpy(), TARGET)
    inputs = {name: INPUTS[name] for name in numbers}
    assert load(text(model), model_file("lightgbm"), []).inputs is None
    manifest = publish(empty, text(model), "v1.txt", inputs, format="lightgbm")
    assert same_bits(column(manifest), model.predict(numbers.to_numpy()))


def test_columns_that_are_ordered_categories_and_numbers_with_nulls():
    days = pd.Categorical(X["day"], categories=[6, 5, 4, 3, 2, 1, 0], ordered=True)
    frame = Z.assign(zone=Z["zone"].cat.as_ordered())
    model = lightgbm.LGBMRegressor(**OPTIONS).fit(frame, TARGET)
    loaded = load(text(model), model_file("lightgbm"), [])
    assert same_bits(loaded.predict(X), model.predict(frame))
    unclear = lightgbm.LGBMRegressor(**OPTIONS).fit(Z.assign(day=days), TARGET)
    with pytest.raises(ModelError, match="has the categories of 2 columns and does not say which"):
        load(text(unclear), model_file("lightgbm"), []).predict(X)


def test_text_without_categories_in_the_file_is_refused(empty: Place):
    codes = X.assign(zone=Z["zone"].cat.codes)
    model = lightgbm.LGBMRegressor(**OPTIONS).fit(codes, TARGET)
    with pytest.raises(ModelError, match=r"'zone' is text, and .* does not say which categories"):
        publish(empty, text(model), "v1.txt", format="lightgbm")


def test_booleans_that_may_be_null():
    frame = pd.DataFrame({"flag": [True, False, None] * 100, "day": X["day"]})
    numbers = frame.assign(flag=frame["flag"].astype(float))
    model = lightgbm.LGBMRegressor(**OPTIONS).fit(numbers, TARGET)
    found = load(text(model), model_file("lightgbm"), []).predict(
        frame.assign(flag=frame["flag"].astype(object).fillna(np.nan))
    )
    assert same_bits(found, model.predict(numbers))


def test_a_custom_objective_gives_its_raw_scores():
    def squares(y: Any, predicted: Any) -> Any:
        return predicted - y, np.ones_like(y)

    model = lightgbm.LGBMRegressor(**OPTIONS | {"objective": squares}).fit(Z, TARGET)
    loaded = load(text(model), model_file("lightgbm"), [])
    assert loaded.classes is None
    assert same_bits(loaded.predict(X), model.predict(Z))


def test_it_needs_no_digest_where_its_format_is_given(empty: Place):
    data = text(regressor())
    with pytest.raises(JobError, match=r"sha256: missing.*format: lightgbm"):
        publish(empty, data, "v1.txt")
    publish(empty, data, "v1.txt", format="lightgbm")


def test_an_array_of_inputs_is_not_for_it():
    with pytest.raises(ModelError, match=r"leave model.input out of the job file"):
        load(text(regressor()), model_file("lightgbm"), []).predict(X.to_numpy())


BROKEN = {
    "cut in a tree": lambda s: s[: len(s) // 2],
    "cut before the end": lambda s: s[: s.index(b"end of trees")],
    "without trees": lambda s: s[:200],
    "a tree less": lambda s: s.replace(b"Tree=3\n", b""),
    "a feature that does not exist": lambda s: s.replace(b"split_feature=0", b"split_feature=7", 1),
    "a child that does not exist": lambda s: s.replace(b"left_child=1", b"left_child=99", 1),
    "more leaves": lambda s: s.replace(b"num_leaves=", b"num_leaves=9", 1),
    "cut in the parameters": lambda s: s[: s.index(b"[path_smooth")],
    "sizes of trees that are not theirs": lambda s: s.replace(b"tree_sizes=", b"tree_sizes=9"),
    "not text": lambda s: s[:500] + b"\xff\xfe" + s[500:],
    "a number that is none": lambda s: s.replace(b"split_feature=0", b"split_feature=x", 1),
    "another number of categories": lambda s: s.replace(b"cat_boundaries=0 ", b"cat_boundaries=0 9 ", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_refused_in_one_line(name: str):
    whole = text(regressor())
    data = BROKEN[name](whole)
    assert data != whole
    with pytest.raises(
        ModelError, match="is not a LightGBM model that can be loaded here"
    ) as found:
        load(data, model_file("lightgbm"), [])
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "options", [{}, {"linear_tree": True}, {"boosting_type": "dart"}, {"objective": "poisson"}]
)
def test_whole_files_of_all_kinds_of_trees_pass(options: dict[str, Any]):
    model = lightgbm.LGBMRegressor(**OPTIONS | options).fit(Z, TARGET)
    loaded = load(text(model), model_file("lightgbm"), [])
    assert same_bits(loaded.predict(X), model.predict(Z))
    constant = lightgbm.LGBMRegressor(**OPTIONS | options).fit(Z, np.ones(len(Z)))
    assert check_text(text(constant))["num_class"] == "1"


def test_a_missing_package_names_the_extra():
    code = (
        "import sys; sys.modules['lightgbm'] = None\n"
        "from scoring.models.lightgbm import load\n"
        "from scoring.errors import MissingPackageError\n"
        "try: load(b'tree', None, [])\n"
        "except MissingPackageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'batch-scoring[lightgbm]'" in done.stdout


def test_another_number_of_columns_is_refused(empty: Place):
    model = lightgbm.LGBMRegressor(**OPTIONS).fit(X[["distance", "day"]].to_numpy(), TARGET)
    inputs = {"distance": INPUTS["distance"]}
    with pytest.raises(ModelError, match=r"was trained with 2 columns, .* inputs are 1: distance"):
        publish(empty, text(model), "v1.txt", inputs, format="lightgbm")
