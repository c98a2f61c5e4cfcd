"""Without the compiled part there is one line in the log, and the same predictions."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from scoring.models.trees.attach import attach
from scoring.models.trees.compiled import kernels
from tests.scoring.models.trees.fitted import assert_same_bits, copied, fitted, numbers, outputs


@pytest.fixture
def _without_the_compiled_part(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "scoring.models.trees._kernels", None)
    kernels.cache_clear()
    yield
    kernels.cache_clear()


@pytest.mark.usefixtures("_without_the_compiled_part")
def test_scikit_learn_predicts_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    x = numbers(np.random.default_rng(1), 50)
    for kind in ("HistGradientBoostingRegressor", "RandomForestClassifier"):
        model = fitted(kind)
        own = copied(model)
        (one,) = attach(model)
        assert one.status == "scikit-learn: the compiled part is missing"
        assert_same_bits(outputs(model, x), outputs(own, x))
    (said,) = caplog.messages
    assert said.startswith("exact trees are off: ")
    assert said.endswith("; predictions are the same, slower")
