"""Copies and pickles of a model have nothing of what was attached to it."""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import weakref
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.base import clone

from scoring.models.instance import override
from tests.scoring.models.trees.fitted import (
    KINDS,
    assert_same_bits,
    attached,
    copied,
    fitted,
    numbers,
    outputs,
)


def through_joblib(model: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(model, file)
    return joblib.load(file)


def through_skops(model: Any) -> Any:
    data = skops.io.dumps(model)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "copied_by", [copy.deepcopy, copy.copy, copied, through_joblib, through_skops]
)
def test_a_copy_is_as_if_nothing_were_attached(kind: str, copied_by: Any) -> None:
    model = fitted(kind)
    before, names = pickle.dumps(model), [*vars(model)]
    attached(model)
    assert [*vars(model)] != names
    assert pickle.dumps(model) == before
    other = copied_by(model)
    assert sorted(vars(other)) == sorted(names)
    x = numbers(np.random.default_rng(1), 100)
    assert_same_bits(outputs(other, x), outputs(model, x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_can_be_fitted_and_the_model_shown(kind: str) -> None:
    model = fitted(kind)
    attached(model)
    other = clone(model)
    assert repr(other) == repr(model)
    x = numbers(np.random.default_rng(2), 100)
    other.fit(x, x[:, 0] > 0)
    assert_same_bits(outputs(other, x), outputs(copied(other), x))


def test_what_is_attached_keeps_no_model_in_memory() -> None:
    model = fitted("GradientBoostingRegressor")
    attached(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_outlives_the_name_of_its_model_and_can_be_pickled(kind: str) -> None:
    model = fitted(kind)
    x = numbers(np.random.default_rng(3), 50)
    expected = outputs(copied(model), x)
    attached(model)
    names = [name for name in ("predict_proba", "predict") if hasattr(model, name)]
    methods = [getattr(model, name) for name in names]
    del model
    gc.collect()
    for method in methods:
        for one in (method, pickle.loads(pickle.dumps(method))):
            found = one(x) if one(x).ndim == 2 else one(x).reshape(-1, 1).astype(float)
            columns = expected[:, -1:] if found.shape[1] == 1 else expected[:, :-1]
            assert_same_bits(found, columns)


def test_a_method_says_of_itself_what_that_of_the_class_says() -> None:
    for kind in KINDS:
        model = fitted(kind)
        attached(model)
        for name in vars(model).keys() - vars(copied(model)).keys() - {"__getstate__"}:
            ours, theirs = getattr(model, name), getattr(copied(model), name)
            assert (ours.__name__, ours.__doc__) == (theirs.__name__, theirs.__doc__)
            assert inspect.signature(ours) == inspect.signature(theirs)


def test_an_object_with_a_state_of_its_own_keeps_it() -> None:
    class Own:
        def __getstate__(self) -> Any:
            return ("state", 1)

    one = Own()
    override(one, {"__str__": lambda self: "one"})
    assert one.__str__() == "one"
    assert one.__getstate__() == ("state", 1)
