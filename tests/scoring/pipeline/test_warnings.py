"""What is published all the same, with a warning in the log, the manifest and `show`."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from scoring.cli.main import main
from scoring.errors import ContractError
from tests.scoring.factories import MONTH, Place, linear, rows, run_steps

CONSTANT = "constant_prediction: all 3 values of 'y' are "


def warnings(place: Place, **job: Any) -> list[str]:
    return run_steps(place.run(place.job(**job))).warnings


def joblib_of(place: Place, model: Any) -> dict[str, Any]:
    digest = place.model(model, "v1.joblib")
    version = {"version": "v1", "uri": "{models}/v1.joblib", "in_force_from": MONTH}
    return {"model": {"versions": [version | {"sha256": digest}]}}


def test_a_month_of_one_value_is_published_with_a_warning_everywhere(
    empty: Place, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    empty.model(linear(0.0))
    empty.source(rows(3))
    with caplog.at_level(logging.WARNING, "scoring"):
        (warning,) = warnings(empty)
    assert warning.startswith(CONSTANT)
    assert caplog.messages == [f"sample 2013-02: {warning}"]
    assert main(["show", str(empty.job().path), MONTH, "--data", str(empty.data)]) == 0
    assert CONSTANT in " ".join(capsys.readouterr().out.split())


def test_a_month_of_one_value_is_an_error_where_the_job_says_so(empty: Place):
    empty.model(linear(0.0))
    empty.source(rows(3))
    with pytest.raises(ContractError) as error:
        warnings(empty, checks={"on_warning": "fail"})
    assert CONSTANT in str(error.value)
    assert str(error.value).endswith(
        "checks.on_warning is fail: a partition with a warning is not published"
    )
    assert not list(empty.out.rglob("*.parquet"))


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows_are_not_a_reason_for_a_warning(empty: Place, count: int):
    empty.model()
    empty.source(rows(2).slice(0, count))
    assert warnings(empty, checks={"min_rows": 0}) == []


def test_a_label_that_all_rows_have_is_one_value(empty: Place):
    model = DecisionTreeClassifier().fit(pd.DataFrame({"x": [1.0, 99.0]}), ["no", "yes"])
    empty.source(rows(3))
    assert warnings(empty, **joblib_of(empty, model))[0].startswith(CONSTANT + "'no'")


def encoded(missing: Any) -> Any:
    """A model whose encoder was fitted on ``missing`` in the place of a value."""
    frame = pd.DataFrame({"x": pd.Series(["a", "b", missing, "a"], dtype=object)})
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["x"]))
    return make_pipeline(encoder, LinearRegression()).fit(frame, [1.0, 2.0, 10.0, 1.0])


@pytest.mark.parametrize(("missing", "found"), [(None, True), (np.nan, False)])
def test_a_null_that_an_encoder_knows_as_none_is_a_warning(empty: Place, missing: Any, found: bool):
    empty.source(rows(3, x=["a", "b", None]))
    job = joblib_of(empty, encoded(missing)) | {
        "inputs": {"x": {"type": "string", "nullable": True}}
    }
    fitted_on_none = "null_category: OneHotEncoder was fitted on None in x"
    assert any(w.startswith(fitted_on_none) for w in warnings(empty, **job)) == found
    empty.source(rows(3, x=["a", "b", "a"]))
    assert warnings(empty, **job) == []  # nothing of it happens without a null


@pytest.mark.parametrize(("feature", "found"), [("PULocationID", True), ("x", False)])
def test_a_vectorizer_that_knows_no_input_is_a_warning(empty: Place, feature: str, found: bool):
    vectorizer = DictVectorizer()
    features = vectorizer.fit_transform([{feature: 1.0}, {feature: 2.0}])
    model = (vectorizer, LinearRegression().fit(features, [2.0, 4.0]))
    code = (
        "def run(df, model):\n"
        "    vectorizer, estimator = model\n"
        "    return "
        "df.assign(y=estimator.predict(vectorizer.transform(df.to_dict('records'))))[['y']]\n"
    )
    empty.source(rows(3))
    message = warnings(empty, **joblib_of(empty, model), scorer=empty.scorer(code))
    expected = "no_known_feature: DictVectorizer knows PULocationID, and none of them is an input of the job (x)"
    assert (expected in message) == found
    assert any(w.startswith(CONSTANT) for w in message) == found


def test_the_time_that_a_month_took_adds_up(empty: Place, capsys: pytest.CaptureFixture[str]):
    empty.model()
    empty.source(rows(3000))
    job = empty.job()
    assert main(["run", str(job.path), MONTH, "--data", str(empty.data), "--workers", "1"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("took"))
    total, *parts = [float(word) for word in line.split() if word.replace(".", "").isdigit()]
    assert total == pytest.approx(sum(parts), abs=0.03)
