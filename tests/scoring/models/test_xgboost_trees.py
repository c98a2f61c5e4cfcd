"""Damaged XGBoost files are refused before the library reads them, whole ones of all kinds pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import xgboost

from scoring.errors import ModelError
from scoring.models.ubjson import parse_ubjson
from scoring.models.xgboost import load
from scoring.models.xgboost_trees import check_model
from tests.scoring.models import native_files
from tests.scoring.models.native_files import TARGET, THREE, X, model_file

Z = X.assign(zone=native_files.X["zone"].replace("süd", "sued").astype("category"))
OPTIONS: dict[str, Any] = {
    "n_estimators": 5, "max_depth": 4, "n_jobs": 1, "enable_categorical": True,
}  # fmt: skip
MODEL = xgboost.XGBRegressor(**OPTIONS, max_cat_to_onehot=1).fit(Z, TARGET).get_booster()
TREES = ("learner", "gradient_booster", "model")


DAY = X[["day"]]
BOTH = np.column_stack([TARGET, TARGET])
WITH_DAYS = Z.assign(day=Z["day"].astype("category"))
Regressor = xgboost.XGBRegressor
KINDS: dict[str, Callable[[], Any]] = {
    "categories": lambda: Regressor(**OPTIONS).fit(Z, TARGET),
    "numbers as categories": lambda: Regressor(**OPTIONS).fit(WITH_DAYS, TARGET),
    "classes": lambda: xgboost.XGBClassifier(**OPTIONS).fit(Z, THREE),
    "pruned": lambda: Regressor(n_estimators=5, gamma=500, tree_method="exact").fit(DAY, TARGET),
    "a forest": lambda: xgboost.XGBRFRegressor(**OPTIONS).fit(Z, TARGET),
    "dart": lambda: Regressor(**OPTIONS, booster="dart").fit(Z, TARGET),
    "linear": lambda: Regressor(n_estimators=2, booster="gblinear").fit(DAY, TARGET),
    "a tree for each output": lambda: Regressor(**OPTIONS).fit(DAY, BOTH),
    "trees of vectors": lambda: Regressor(**OPTIONS, multi_strategy="multi_output_tree").fit(
        DAY, BOTH
    ),
    "a single leaf": lambda: Regressor(**OPTIONS).fit(DAY, np.ones(len(DAY))),
}


@cache
def saved(name: str, kind: str) -> bytes:
    return bytes(KINDS[name]().get_booster().save_raw(kind))


@pytest.mark.parametrize("kind", ["json", "ubj"])
@pytest.mark.parametrize("name", KINDS)
def test_whole_files_of_all_kinds_pass(name: str, kind: str):
    check_model(saved(name, kind))


def rounded(value: Any) -> Any:
    """``value`` with its numbers as float32, which is what both formats have."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(np.float32(value)) if isinstance(value, float) else value


def test_ubjson_says_what_json_says():
    for name in ("classes", "dart"):
        binary, text = saved(name, "ubj"), saved(name, "json")
        assert rounded(parse_ubjson(binary)) == rounded(json.loads(text))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[i\x01U\xff]", [1, 255]),
        (b"[#i\x02TZ", [True, None]),
        (b"[$I#i\x02\x00\x01\xff\xff", [1, -1]),
        (b"{i\x01aSi\x02hii\x01bCx}", {"a": "hi", "b": "x"}),
        (b"D\x3f\xf0" + bytes(6), 1.0),
    ],
)
def test_values_of_ubjson(data: bytes, expected: Any):
    assert parse_ubjson(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[", b"{", b"[i\x01", b"Si\x05hi", b"Si\xffhi", b"[#i\xff", b"[#l\x7f\xff\xff\xff",
        b"[$l#l\x7f\xff\xff\xff", b"[$S#i\x01", b"?", b"i\x01i", b"{i\x01aTi\x01aT}", b"[" * 100,
        b"[$I#d\x3f\x80\x00\x00", b"Si\x01\xff",
    ],
)  # fmt: skip
def test_malformed_ubjson_is_refused(data: bytes):
    with pytest.raises(ValueError, match=r"."):
        parse_ubjson(data)


def part(model: Any, *path: Any) -> Any:
    for step in path:
        model = model[step]
    return model


DAMAGE: dict[str, Callable[[Any], Any]] = {
    "a child outside": lambda t: t["left_children"].__setitem__(0, 10_000),
    "a child below zero": lambda t: t["right_children"].__setitem__(0, -7),
    "a child missing": lambda t: t["right_children"].__setitem__(0, -1),
    "a way back": lambda t: t["left_children"].__setitem__(1, 0),
    "a node reached twice": lambda t: t["left_children"].__setitem__(0, t["right_children"][0]),
    "a feature that does not exist": lambda t: t["split_indices"].__setitem__(0, 3),
    "a feature below zero": lambda t: t["split_indices"].__setitem__(0, -1),
    "another parent": lambda t: t["parents"].__setitem__(1, 2),
    "a parent outside": lambda t: t["parents"].__setitem__(0, 1 << 28),
    "weights that are short": lambda t: t["base_weights"].pop(),
    "a list that is short": lambda t: t["split_conditions"].pop(),
    "an optional list that is short": lambda t: t["sum_hessian"].pop(),
    "a list that is gone": lambda t: t.pop("default_left"),
    "not an integer": lambda t: t["left_children"].__setitem__(0, 1.5),
    "a number of nodes": lambda t: t["tree_param"].__setitem__("num_nodes", "1000"),
    "a number of features": lambda t: t["tree_param"].__setitem__("num_feature", "9"),
    "categories cut off": lambda t: t["categories"].pop(),
    "a category too large": lambda t: t["categories"].__setitem__(0, 1 << 30),
    "categories of another node": lambda t: t["categories_nodes"].__setitem__(0, 60_000),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_tree_is_refused(name: str):
    model = json.loads(MODEL.save_raw("json"))
    trees = part(model, *TREES, "trees")
    tree = next(tree for tree in trees if tree["categories"])
    check_model(json.dumps(model).encode())
    DAMAGE[name](tree)
    with pytest.raises(
        ModelError, match=r"is not an XGBoost model that can be loaded here"
    ) as found:
        load(json.dumps(model).encode(), model_file("xgboost"), [])
    assert "\n" not in str(found.value)


WHOLE: dict[str, Callable[[Any], Any]] = {
    "a tree less": lambda m: part(m, *TREES, "trees").pop(),
    "a group less": lambda m: part(m, *TREES, "tree_info").pop(),
    "a tree of another class": lambda m: part(m, *TREES, "tree_info").__setitem__(0, 4),
    "rounds that shrink": lambda m: part(m, *TREES, "iteration_indptr").reverse(),
    "no booster": lambda m: m["learner"].pop("gradient_booster"),
    "names": lambda m: m["learner"]["feature_names"].pop(),
    "categories": lambda m: part(m, *TREES, "cats", "enc").pop(),
    "letters of categories": lambda m: part(m, *TREES, "cats", "enc", 1, "values").pop(),
    "places of categories": lambda m: part(m, *TREES, "cats", "enc", 1, "offsets").reverse(),
    "their order": lambda m: part(m, *TREES, "cats", "sorted_idx").__setitem__(0, 77),
    "their segments": lambda m: part(m, *TREES, "cats", "feature_segments").reverse(),
    "another kind of thing": lambda m: m["learner"].__setitem__("gradient_booster", [1]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_model_is_refused(name: str):
    model = json.loads(MODEL.save_raw("json"))
    WHOLE[name](model)
    with pytest.raises(ValueError, match=r"."):
        check_model(json.dumps(model).encode())


def test_leaves_of_vectors():
    model = json.loads(saved("trees of vectors", "json"))
    part(model, *TREES, "trees", 0, "leaf_weights").pop()
    with pytest.raises(ValueError, match="a leaf that has no weights"):
        check_model(json.dumps(model).encode())


def test_weights_of_darts_and_linear_models():
    dart = json.loads(saved("dart", "json"))
    dart["learner"]["gradient_booster"]["weight_drop"].pop()
    linear = json.loads(saved("linear", "json"))
    linear["learner"]["gradient_booster"]["model"]["weights"].pop()
    for model in (dart, linear):
        with pytest.raises(ValueError, match="does not have a number for each"):
            check_model(json.dumps(model).encode())
