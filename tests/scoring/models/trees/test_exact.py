"""Threads, processes, and what is compared when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from scoring.models.trees import exact
from scoring.models.trees.exact import ROWS_COMPARED, ExactTrees, difference
from tests.scoring.factories import in_process
from tests.scoring.models.trees.fitted import (
    KINDS,
    assert_same_bits,
    attached,
    copied,
    fitted,
    numbers,
    outputs,
)


@pytest.mark.parametrize("kind", ["HistGradientBoostingClassifier", "RandomForestClassifier"])
def test_threads_share_rows_and_change_no_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(kind)
    own = copied(model)
    (one,) = attached(model)
    assert one.exact is not None
    parts: list[int] = []
    right = ExactTrees._sum_in_blocks

    def noted(self: ExactTrees, x: Any, out: Any) -> None:
        parts.append(len(x))
        right(self, x, out)

    monkeypatch.setattr(ExactTrees, "_sum_in_blocks", noted)
    x = numbers(np.random.default_rng(1), 30_001)
    model.predict(x)  # these are the first rows, of which some are compared
    rows, sums = x.astype(one.exact._dtype), None
    none: Any = None
    for threads, expected in ((1, [30_001]), (2, [15_000, 15_001]), (8, [10_000, 10_000, 10_001])):
        parts.clear()
        found = np.zeros((len(rows), 3))
        one.exact.add(rows, found, threads, none)
        assert sorted(parts) == expected
        assert sums is None or difference(found, sums) is None
        sums = found
    with threadpool_limits(2, user_api="openmp"):
        found = model.predict_proba(x)
    assert sorted(parts[-2:]) == [15_000, 15_001]
    assert_same_bits(found, own.predict_proba(x))


def test_few_rows_are_for_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("RandomForestRegressor")
    attached(model)
    monkeypatch.setattr(exact, "ThreadPoolExecutor", None)
    with threadpool_limits(8, user_api="openmp"):
        model.predict(numbers(np.random.default_rng(2), 16_383))


def test_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("ExtraTreesRegressor", 1_000)
    own = copied(model)
    (one,) = attached(model)
    assert one.exact is not None
    monkeypatch.setattr(one.exact._kernel, "block_rows", 7)
    x = numbers(np.random.default_rng(3), 100)
    assert_same_bits(outputs(model, x), outputs(own, x))


@pytest.mark.parametrize("kind", KINDS)
def test_several_threads_predict_at_once(kind: str) -> None:
    model = fitted(kind)
    own = copied(model)
    attached(model)
    asked = [numbers(np.random.default_rng(seed), 500) for seed in range(12)]
    expected = [outputs(own, x) for x in asked]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(
            pool.map(lambda x: outputs(model, x), asked), expected, strict=True
        ):
            assert_same_bits(found, wanted)


def compared(model: Any) -> Any:
    """Note how many rows scikit-learn's own trees are asked for from here on."""
    asked: list[int] = []
    for tree in model.estimators_:
        right = tree.predict

        def predict(x: Any, check_input: bool, right: Any = right) -> Any:
            asked.append(len(x))
            return right(x, check_input=check_input)

        tree.predict = predict
    return asked


def test_the_first_rows_of_a_process_are_compared() -> None:
    model = fitted("RandomForestRegressor", n_estimators=1)
    attached(model)
    asked = compared(model)
    x = numbers(np.random.default_rng(4), 5_000)
    for rows in (1, 47, 5_000, 5_000):
        model.predict(x[:rows])
    assert asked == [1, 47, ROWS_COMPARED - 48]

    def in_a_fork() -> None:
        asked.clear()
        model.predict(x)
        assert asked == [ROWS_COMPARED]

    assert in_process(in_a_fork) == 0


def test_a_difference_is_found_bit_by_bit() -> None:
    zeros, minus = np.zeros((2, 2)), np.array([[0.0, 0.0], [0.0, -0.0]])
    assert difference(zeros, zeros) is None
    assert difference(zeros, minus) == "0.0 and not -0.0 in 1 of 2 rows"
    quiet = np.array([[0x7FF8000000000000]], dtype=np.uint64).view(np.float64)
    other = np.array([[0xFFF8000000000001]], dtype=np.uint64).view(np.float64)
    assert difference(quiet, other) is None
    assert difference(quiet, np.ones((1, 1))) == "nan and not 1.0 in 1 of 1 rows"
    assert difference(np.nextafter(zeros, 1), zeros) == "5e-324 and not 0.0 in 2 of 2 rows"
