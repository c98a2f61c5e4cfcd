"""Ensembles of all kinds predict with scikit-learn's bits, or scikit-learn predicts."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.train_flight_delay import INPUTS, TARGET, train
from scoring.models.trees import attach as attaching
from scoring.models.trees.attach import attach, merged, trees_of
from scoring.models.trees.exact import ExactTrees
from scoring.models.trees.ranked import Ranked
from scoring.models.trees.walked import Walked
from tests.scoring.models.trees.fitted import (
    COLUMNS,
    KINDS,
    assert_same_bits,
    attached,
    copied,
    fitted,
    numbers,
    outputs,
)

RANDOM_MODELS = 25
"""Of each class: 200 in all."""


def options_of(kind: str, random: np.random.Generator) -> dict[str, Any]:
    """Options of a model of ``kind``, such as users might choose."""
    leaves = random.choice([2, 7, 31, 64, 65])
    if kind.startswith("Hist"):
        found = {"max_leaf_nodes": random.choice([leaves, 200]), "min_samples_leaf": 1}
        found["max_bins"] = random.choice([3, 20, 255])
        if kind.endswith("Regressor"):
            found["monotonic_cst"] = [1, 0, 0, -1, 0] if random.integers(2) else None
            found["loss"] = random.choice(["squared_error", "absolute_error"])
        found["learning_rate"] = random.choice([0.1, 1.0])
        return found
    if kind.startswith("Gradient"):
        found = {"learning_rate": random.choice([0.1, 0.37, 1.0])}
        found["max_depth"] = random.choice([1, 3, 9])
        found["init"] = random.choice([None, "zero"])
        found["subsample"] = random.choice([0.5, 1.0])
        return found
    found = {"max_leaf_nodes": random.choice([None, leaves])}
    found["max_depth"] = random.choice([None, 1, 4])
    found["min_samples_leaf"] = random.choice([1, 5])
    found["n_jobs"] = random.choice([None, 1])
    return found


def asked(random: np.random.Generator, kind: str, model: Any, rows: int, missing: bool) -> Any:
    """Rows in one of the forms that data comes in, many of them with values of the training."""
    x = numbers(random, rows, 0.1 if missing else 0.0)
    if kind.startswith("Hist"):
        x[random.random(x.shape) < 0.02] = np.inf
        x[random.random(x.shape) < 0.02] = -np.inf
        for iteration in model._predictors:  # met exactly
            nodes = iteration[0].nodes
            row, node = random.integers(rows), random.choice(nodes)
            x[row, node["feature_idx"]] = node["num_threshold"]
    form = random.integers(6)
    if form == 0:
        with np.errstate(over="ignore"):
            return x.astype(np.float32)
    if form == 1:
        return np.asfortranarray(x)
    if form == 2:
        return np.repeat(x, 2, axis=0)[::2]
    if form == 3:
        return np.repeat(x, 2, axis=1)[:, ::2]
    return x[:1] if form == 4 else x


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("kind", KINDS)
def test_random_models_predict_the_bits_of_scikit_learn(kind: str) -> None:
    used = set()
    for seed in range(RANDOM_MODELS):
        random = np.random.default_rng([seed, KINDS.index(kind)])
        missing = not kind.startswith("Gradient") and bool(random.integers(2))
        options = options_of(kind, random)
        rows = int(random.choice([20, 150, 500]))
        model = fitted(kind, rows, seed, 0.1 if missing else 0.0, **options)
        own = copied(model)
        (one,) = attached(model)
        assert one.exact is not None
        used.add(type(one.exact._kernel))
        for _ in range(2):
            x = asked(random, kind, own, 60, missing)
            assert_same_bits(outputs(model, x), outputs(own, x))
        assert one.status == "exact"
    assert used == {Ranked, Walked}


@pytest.mark.parametrize(
    ("kind", "options", "kernel", "leaves"),
    [
        ("HistGradientBoostingRegressor", {"max_leaf_nodes": 32}, Ranked, 32),
        ("HistGradientBoostingRegressor", {"max_leaf_nodes": 33}, Ranked, 33),
        ("HistGradientBoostingRegressor", {"max_leaf_nodes": 64}, Ranked, 64),
        ("HistGradientBoostingRegressor", {"max_leaf_nodes": 65}, Walked, 65),
        ("RandomForestClassifier", {"max_leaf_nodes": 31, "n_estimators": 3}, Ranked, 31),
        ("RandomForestRegressor", {"max_leaf_nodes": 8, "n_estimators": 300}, Walked, 8),
        ("ExtraTreesRegressor", {"max_depth": None}, Walked, None),
    ],
)
def test_small_trees_with_few_thresholds_are_tables(
    kind: str, options: dict[str, Any], kernel: type, leaves: int | None
) -> None:
    """Three hundred trees on random samples have more than 254 thresholds for a feature."""
    model = fitted(kind, 3_000, **options)
    if leaves and kind.startswith("Hist"):
        assert max(p.get_n_leaf_nodes() for (p,) in model._predictors) == leaves
    own = copied(model)
    (one,) = attached(model)
    assert one.exact is not None
    assert isinstance(one.exact._kernel, kernel)
    x = numbers(np.random.default_rng(1), 500)
    assert_same_bits(outputs(model, x), outputs(own, x))


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_a_feature_with_all_bins_and_missing_values(missing: float) -> None:
    """254 thresholds, and the one that parts missing values from all others."""
    random = np.random.default_rng(5)
    x = random.normal(size=(4_000, 1))
    y = np.sin(40 * x[:, 0])
    missing_at = random.random(4_000) < missing
    x[missing_at], y[missing_at] = np.nan, 30.0
    model = HistGradientBoostingRegressor(max_iter=100, min_samples_leaf=1).fit(x, y)
    own = copied(model)
    attached(model)
    thresholds = np.concatenate([p.nodes["num_threshold"] for (p,) in model._predictors])
    assert bool(np.isinf(thresholds).any()) == bool(missing)
    at = np.unique(thresholds)
    sides = [at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf), [np.nan, np.inf, -np.inf]]
    asked_of = np.concatenate(sides).reshape(-1, 1)
    assert_same_bits(outputs(model, asked_of), outputs(own, asked_of))


@pytest.mark.parametrize("kind", KINDS)
def test_a_tree_that_is_a_single_leaf(kind: str) -> None:
    option = "min_samples_leaf" if kind.startswith("Hist") else "min_samples_split"
    options = {option: 500}
    model = fitted(kind, 200, **options)
    own = copied(model)
    attached(model)
    x = numbers(np.random.default_rng(2), 20)
    assert_same_bits(outputs(model, x), outputs(own, x))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("Classifier")])
def test_two_classes_that_are_texts(kind: str) -> None:
    x = numbers(np.random.default_rng(3), 300)
    labels = np.where(x[:, 0] > 0, "late", "on time")
    model = getattr(sklearn.ensemble, kind)(random_state=1).fit(x, labels)
    own = copied(model)
    attached(model)
    assert_same_bits(model.predict_proba(x), own.predict_proba(x))
    assert list(model.predict(x)) == list(own.predict(x))


def test_the_stages_of_a_boosting_are_scikit_learns() -> None:
    for kind in ("HistGradientBoostingRegressor", "GradientBoostingRegressor"):
        model = fitted(kind)
        own = copied(model)
        attached(model)
        x = numbers(np.random.default_rng(4), 30)
        for found, expected in zip(model.staged_predict(x), own.staged_predict(x), strict=True):
            assert_same_bits(found, expected)


def frame(rows: int, missing: float = 0.0) -> pd.DataFrame:
    x = np.clip(numbers(np.random.default_rng(rows), rows, missing), -9, 9)
    return pd.DataFrame(x, columns=list("abcde"))


def trees() -> list[tuple[str, Any]]:
    return [
        ("hist", HistGradientBoostingRegressor(max_iter=4)),
        ("forest", RandomForestRegressor(n_estimators=4, random_state=0)),
        ("gradient", GradientBoostingRegressor(n_estimators=4, init=LinearRegression())),
    ]


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (make_pipeline(StandardScaler(), HistGradientBoostingRegressor(max_iter=4)), 1),
        (
            make_pipeline(
                ColumnTransformer([("scaled", StandardScaler(), ["c", "a"])], remainder="drop"),
                RandomForestRegressor(n_estimators=4, random_state=0),
            ),
            1,
        ),
        (TransformedTargetRegressor(trees()[0][1], transformer=StandardScaler()), 1),
        (VotingRegressor(trees()), 3),
        (StackingRegressor(trees(), final_estimator=trees()[1][1], cv=2), 4),
        (GradientBoostingRegressor(n_estimators=3, init=trees()[1][1]), 2),
    ],
    ids=["pipeline", "columns", "target", "voting", "stacking", "init"],
)
def test_an_ensemble_within_another_model(model: Any, count: int) -> None:
    x = frame(300)
    model.fit(x, np.sin(x["a"]) + x["b"])
    own = copied(model)
    assert len(attached(model)) == count
    assert_same_bits(outputs(model, x), outputs(own, x))


def test_calibrated_classifiers_are_found() -> None:
    x = frame(300)
    model = CalibratedClassifierCV(
        sklearn.ensemble.HistGradientBoostingClassifier(max_iter=4), cv=3
    ).fit(x, x["a"] > 0)
    own = copied(model)
    assert len(attached(model)) == 3
    assert_same_bits(outputs(model, x), outputs(own, x))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "Classifier" in kind])
def test_models_that_ask_a_classifier_of_two_classes_for_its_probabilities(kind: str) -> None:
    def classifier() -> Any:
        size = "max_iter" if kind.startswith("Hist") else "n_estimators"
        return getattr(sklearn.ensemble, kind)(**{size: 5, "random_state": 0})

    x = numbers(np.random.default_rng(0), 300)
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    several = np.column_stack([y, 1 - y, x[:, 1] > 0]).astype(int)
    models = [
        CalibratedClassifierCV(classifier(), cv=2),
        CalibratedClassifierCV(classifier(), cv=2, method="isotonic", ensemble=False),
        CalibratedClassifierCV(FrozenEstimator(classifier().fit(x, y))),
        FixedThresholdClassifier(classifier(), threshold=0.4, response_method="predict_proba"),
        TunedThresholdClassifierCV(classifier(), cv=2),
        ClassifierChain(classifier()),
    ]
    for model in models:
        model.fit(x, several if isinstance(model, ClassifierChain) else y)
        expected = model.predict_proba(x), model.predict(x)
        attached(model)
        assert_same_bits(model.predict_proba(x), expected[0])
        assert np.array_equal(model.predict(x), expected[1])
    forest = classifier().fit(x, y)
    before = get_scorer("neg_log_loss")(forest, x, y)
    attached(forest)
    assert get_scorer("neg_log_loss")(forest, x, y) == before


@pytest.mark.parametrize("kind", KINDS)
def test_trees_that_are_replaced_after_loading_are_scikit_learns(kind: str) -> None:
    model, other = fitted(kind), fitted(kind, seed=1)
    attached(model)
    x = numbers(np.random.default_rng(1), 2_500)
    outputs(model, x)  # which compares all that will be compared
    if kind.startswith("Hist"):
        model._predictors[0] = other._predictors[0]
    else:
        model.estimators_[0] = other.estimators_[0]
    assert_same_bits(outputs(model, x), outputs(copied(model), x))


def test_a_column_of_records_is_a_column() -> None:
    records = np.zeros(300, dtype=[("x", "f8"), ("y", "f4")])
    records["x"] = np.arange(300.0)
    x = records["x"].reshape(-1, 1)
    for kind in ("HistGradientBoostingRegressor", "RandomForestRegressor"):
        model = getattr(sklearn.ensemble, kind)(random_state=0).fit(x, records["x"])
        expected = model.predict(x)
        attached(model)
        assert_same_bits(model.predict(x), expected)


def test_rows_of_another_form_are_in_the_record() -> None:
    x = numbers(np.random.default_rng(0), 100)
    model = RandomForestRegressor(5, random_state=0).fit(x, x[:, 0])
    (found,) = attached(model)
    model.predict(scipy.sparse.csr_array(x))
    assert found.status == "exact; scikit-learn: rows of another form, such as sparse ones"


def test_a_model_of_the_example() -> None:
    random = np.random.default_rng(6)
    rows = 3_000
    flights = pd.DataFrame(
        {
            "carrier": random.choice(["AA", "UA", "B6"], size=rows).astype(object),
            "origin": random.choice(["JFK", "EWR"], size=rows).astype(object),
            "dest": random.choice(["LAX", "SFO", "ORD"], size=rows).astype(object),
            "dep_delay": np.round(random.exponential(20, size=rows)),
            "distance": random.choice([200.0, 700.0, 2_500.0], size=rows),
            "hour": random.integers(5, 23, size=rows).astype(float),
        }
    )[INPUTS]
    flights[TARGET] = flights["dep_delay"] + random.normal(size=rows)
    model = train(flights)
    own = copied(model)
    attached(model)
    flights.loc[::7, "hour"] = np.nan
    flights.loc[::11, "dest"] = "HNL"
    assert_same_bits(outputs(model, flights[INPUTS]), outputs(own, flights[INPUTS]))


def reason_of(model: Any) -> str:
    (one,) = attach(model)
    assert one.exact is None
    return one.status


def test_what_is_left_to_scikit_learn_has_a_reason() -> None:
    x = frame(200)
    y = x["a"] + x["b"]
    x["b"] = x["b"].astype("category")
    by_category = HistGradientBoostingRegressor(
        max_iter=4, categorical_features="from_dtype", min_samples_leaf=2
    ).fit(x, y)
    expected = by_category.predict(x)
    assert reason_of(by_category) == "scikit-learn: it has splits by categories"
    assert_same_bits(by_category.predict(x), expected)
    two = np.column_stack([y, y])
    several = RandomForestRegressor(n_estimators=2).fit(x[["a"]], two)
    assert reason_of(several) == "scikit-learn: it predicts 2 targets at once"
    assert several.predict(x[["a"]]).shape == (200, 2)

    class Own(RandomForestRegressor):
        pass

    own = Own(n_estimators=2).fit(x[["a"]], y)
    assert reason_of(own) == "scikit-learn: it is a class of its own"


def test_another_scikit_learn_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sklearn, "__version__", "1.10.0")
    model = fitted("RandomForestRegressor")
    assert reason_of(model) == "scikit-learn: scikit-learn 1.10.0 was not tried"
    assert "predict" not in vars(model)


def test_what_is_not_as_expected_is_left_alone() -> None:
    model = fitted("HistGradientBoostingRegressor")
    del model._n_features
    assert reason_of(model).startswith("scikit-learn: it is not as expected: ")
    wide = fitted("RandomForestRegressor", n_estimators=1)
    wide.n_features_in_ = 1
    assert reason_of(wide) == "scikit-learn: a tree has nodes that do not make one"


def test_an_object_that_cannot_be_looked_into_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def predict(self, x: Any) -> Any:
            return x

        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("not now")

    assert attach(Broken()) == []
    assert caplog.messages == ["exact trees are off for a Broken: not now"]


def test_nothing_is_changed_where_it_is_not_wanted() -> None:
    model = fitted("GradientBoostingRegressor")
    before = dict(vars(model))
    (one,) = attach(model, wanted=False)
    assert one.status == "scikit-learn: run.exact_trees is false"
    assert vars(model) == before


def test_sparse_rows_are_predicted_by_scikit_learn() -> None:
    x = np.abs(numbers(np.random.default_rng(7), 100))
    x[x < 0.5] = 0.0
    for kind in ("RandomForestRegressor", "RandomForestClassifier", "GradientBoostingRegressor"):
        model = fitted(kind)
        own = copied(model)
        attached(model)
        sparse = scipy.sparse.csr_matrix(x)
        assert_same_bits(outputs(model, sparse), outputs(own, sparse))


def test_errors_are_those_of_scikit_learn() -> None:
    for kind in KINDS:
        model = fitted(kind)
        own = copied(model)
        attached(model)
        for wrong in (np.zeros((3, COLUMNS + 1)), np.zeros((0, COLUMNS)), np.zeros(3), "text"):
            with pytest.raises(ValueError, match=r".") as expected:
                own.predict(wrong)
            with pytest.raises(type(expected.value)) as found:
                model.predict(wrong)
            assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_fitted_once_more_is_scikit_learns(kind: str) -> None:
    x = numbers(np.random.default_rng(8), 200)
    y = (x[:, 0] > 0).astype(int)
    size = "max_iter" if kind.startswith("Hist") else "n_estimators"
    model = getattr(sklearn.ensemble, kind)(random_state=0, warm_start=True, **{size: 3}).fit(x, y)
    attached(model)
    model.set_params(**{size: 6}).fit(x, y)
    assert_same_bits(outputs(model, x), outputs(copied(model), x))
    model.set_params(warm_start=False).fit(x[:100], 1 - y[:100])
    assert_same_bits(outputs(model, x), outputs(copied(model), x))


def test_a_wrong_kernel_is_noticed_on_made_rows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = fitted("HistGradientBoostingRegressor")
    right = Ranked.add

    def wrong(self: Ranked, x: Any, out: Any) -> None:
        right(self, x, out)
        out[-1] = np.nextafter(out[-1], 9.0)

    monkeypatch.setattr(Ranked, "add", wrong)
    status = reason_of(model)
    assert status.startswith("scikit-learn: it differs from scikit-learn's own on made rows: ")
    assert status.endswith("in 1 of 512 rows")
    assert "_predict_iterations" not in vars(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_kernel_is_noticed_on_the_first_rows(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = fitted(kind)
    own = copied(model)
    (one,) = attached(model)
    right = ExactTrees._sum

    def wrong(self: ExactTrees, x: Any, out: Any, threads: int) -> None:
        right(self, x, out, threads)
        out[len(out) // 2] += 1.0

    monkeypatch.setattr(ExactTrees, "_sum", wrong)
    x = numbers(np.random.default_rng(9), 100)
    with caplog.at_level(logging.WARNING):
        assert_same_bits(outputs(model, x), outputs(own, x))
        assert_same_bits(outputs(model, x), outputs(own, x))
    assert one.status.startswith("scikit-learn: it differed from scikit-learn's own on rows that")
    (said,) = caplog.messages
    assert said.startswith(f"{kind}: exact trees are off from here on")


def test_what_is_said_of_several_ensembles() -> None:
    assert trees_of(object()) == {}
    assert merged([{"B": "exact"}, {"A": "scikit-learn: why", "B": "exact"}]) == {
        "A": "scikit-learn: why",
        "B": "exact",
    }
    assert merged([{"A": "scikit-learn: why; exact"}, {"A": "exact"}]) == {
        "A": "exact; scikit-learn: why"
    }


def test_all_classes_of_the_families_are_tested() -> None:
    assert set(attaching.FAMILIES) == set(KINDS)
