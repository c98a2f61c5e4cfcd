"""Where ensembles are looked for in what was saved as a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor

from scoring.models.trees.find import ensembles_in


def found(model: Any) -> list[Any]:
    return [*ensembles_in(model, (RandomForestRegressor,))]


def test_containers_and_attributes_of_what_predicts() -> None:
    a, b, c, d = (RandomForestRegressor(n_estimators=n) for n in (1, 2, 3, 4))

    class Wrapper:
        def __init__(self) -> None:
            self.inner = {"model": d}
            self.itself = self

        def predict(self, x: Any) -> Any:
            return x

    model = {"a": a, "more": [(b, 1.0, "text", None, int)], "array": np.array([c, a, None])}
    assert found(model) == [a, b, c]
    assert found((model, Wrapper())) == [a, b, c, d]


def test_each_is_found_once_and_cycles_end() -> None:
    forest = RandomForestRegressor()
    model: dict[str, Any] = {"a": forest, "b": forest}
    model["c"] = model
    assert found(model) == [forest]
    pipeline = make_pipeline(forest)
    assert found([pipeline, pipeline]) == [forest]


def test_what_is_not_looked_into() -> None:
    class Connection:
        def __init__(self) -> None:
            self.model = RandomForestRegressor()

    assert found(Connection()) == []
    assert found([1, "text", b"", np.zeros(3), np.float64(1), None, RandomForestRegressor]) == []
    x = np.arange(20.0).reshape(-1, 1)
    bagging = BaggingRegressor(DecisionTreeRegressor(), n_estimators=2).fit(x, x.ravel())
    assert found(bagging) == []
