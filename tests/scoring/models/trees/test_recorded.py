"""What a job says of exact trees, and what its manifest says then."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from scoring.cli.main import main
from scoring.destinations.manifest import Manifest, parse_manifest
from scoring.models.prepare import prepare_model
from tests.scoring.factories import MONTH, Place, in_process, rows, run_steps

MODEL = HistGradientBoostingRegressor
TRUSTED = {"trusted_types": ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]}
EXACT = {"HistGradientBoostingRegressor": "exact"}


def boosted() -> Any:
    x = pd.DataFrame({"x": np.arange(500.0)})
    return MODEL(max_iter=20).fit(x, np.sin(x["x"] / 20))


def bytes_of(manifest: Manifest) -> bytes:
    with open(manifest.output.uri, "rb") as file:  # noqa: PTH123 - a URI is text
        return file.read()


def test_the_manifest_says_it_and_the_bytes_are_the_same(place: Place) -> None:
    place.source(rows(3_000))
    place.model(boosted())
    exact = run_steps(place.run(place.job(model=TRUSTED)))
    assert exact.model.trees == EXACT
    published = bytes_of(exact)
    plain = run_steps(place.run(place.job(model=TRUSTED, run={"exact_trees": False})))
    assert plain.model.trees == {
        "HistGradientBoostingRegressor": "scikit-learn: run.exact_trees is false"
    }
    assert bytes_of(plain) == published
    assert pq.ParquetFile(plain.output.uri).metadata.num_rows == 3_000


def test_the_switch_makes_two_models_in_memory(place: Place) -> None:
    place.source(rows(10))
    place.model(boosted())
    on, off = (
        place.run(place.job(model=TRUSTED)),
        place.run(place.job(model=TRUSTED, run={"exact_trees": False})),
    )
    models = [prepare_model(run.job_file, run.model_file(), run.connections) for run in (on, off)]
    assert ["_predict_iterations" in vars(model.native) for model in models] == [True, False]


def test_a_fork_predicts_the_same(place: Place) -> None:
    place.source(rows(10))
    place.model(boosted())
    run = place.run(place.job(model=TRUSTED))
    model = prepare_model(run.job_file, run.model_file(), run.connections)
    x = pd.DataFrame({"x": np.linspace(-5, 505, 40_000)})
    expected = model.predict(x)
    assert in_process(lambda: np.testing.assert_array_equal(model.predict(x), expected)) == 0


def test_a_scorer_has_the_same_model_and_those_of_its_files(place: Place) -> None:
    place.source(rows(100))
    digest = place.model({"first": boosted()}, "v1.joblib")
    x = np.arange(50.0).reshape(-1, 1)
    other = place.model(RandomForestRegressor(n_estimators=2).fit(x, x.ravel()), "other.joblib")
    code = (
        "import copy\n"
        "def run(df, model, other):\n"
        "    mine = copy.deepcopy(model['first'])\n"
        "    assert '_predict_iterations' in vars(model['first'])\n"
        "    assert (mine.predict(df) == model['first'].predict(df)).all()\n"
        "    return df.assign(y=model['first'].predict(df) + other.predict(df.to_numpy()))[['y']]\n"
    )
    job = place.job(
        scorer=place.scorer(code),
        model={
            "versions": [
                {
                    "version": "v1",
                    "uri": "{models}/v1.joblib",
                    "sha256": digest,
                    "in_force_from": MONTH,
                }
            ],
            "files": {"other": {"uri": "{models}/other.joblib", "sha256": other}},
        },
    )
    manifest = run_steps(place.run(job))
    assert manifest.model.trees == EXACT | {"RandomForestRegressor": "exact"}


def test_an_array_as_input(place: Place) -> None:
    place.source(rows(100))
    x = np.arange(50.0).reshape(-1, 1)
    place.model(MODEL(max_iter=3, min_samples_leaf=2).fit(x, x.ravel()))
    manifest = run_steps(place.run(place.job(model=TRUSTED | {"input": "array"})))
    assert manifest.model.trees == EXACT


def test_a_model_without_trees_says_nothing(place: Place) -> None:
    place.source(rows(10))
    place.model()
    manifest = run_steps(place.run())
    assert manifest.model.trees == {}
    older = json.loads(manifest.to_json())
    del older["model"]["trees"]
    assert parse_manifest(json.dumps(older).encode(), "older").model.trees == {}


def test_check_deep_says_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.source(rows(100))
    place.model(boosted())
    job = str(place.job(model=TRUSTED).path)
    assert main(["check", "--deep", job, "--data", str(place.data)]) == 0
    assert "\n  trees of HistGradientBoostingRegressor: exact\n" in capsys.readouterr().out
    assert main(["check", "--deep", job, "--data", str(place.data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["trees"] == EXACT
