"""Every format under every other one's name: refused with the right one, and nothing of it is run."""

from __future__ import annotations

import hashlib
import pickle
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from skl2onnx import to_onnx

from scoring.errors import JobError, ModelError
from scoring.job.model import DATA_FORMATS
from scoring.models.content import NAMES, kind_of
from tests.scoring.factories import MONTH, Place, linear, predictions, rows, run_steps

X = pd.DataFrame({"x": np.arange(60.0)})
Y = X["x"] * 2
SMALL: dict[str, Any] = {"n_estimators": 3, "n_jobs": 1}


def _catboost(kind: str) -> bytes:
    model = catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False).fit(X, Y)
    if kind == "cbm":
        found: bytes = model._serialize_model()
        return found
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        model.save_model(file.name, format="json")
        return Path(file.name).read_bytes()


def _xgboost(kind: str) -> bytes:
    return bytes(xgboost.XGBRegressor(**SMALL).fit(X, Y).get_booster().save_raw(kind))


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pickle": ("joblib", lambda: pickle.dumps(linear())),
    "old pickle": ("joblib", lambda: pickle.dumps(linear(), protocol=2)),
    "compressed": ("joblib", lambda: zlib.compress(pickle.dumps(linear()))),
    "skops": ("skops", lambda: skops.io.dumps(linear())),
    "onnx": (
        "onnx",
        lambda: to_onnx(linear(), X.to_numpy(np.float32)[:1]).SerializeToString(),
    ),
    "lightgbm": (
        "lightgbm",
        lambda: (
            lightgbm.LGBMRegressor(**SMALL, verbose=-1)
            .fit(X, Y)
            .booster_.model_to_string()
            .encode()
        ),
    ),
    "json": ("xgboost", lambda: _xgboost("json")),
    "ubj": ("xgboost", lambda: _xgboost("ubj")),
    "cbm": ("catboost", lambda: _catboost("cbm")),
    "catboost json": ("catboost", lambda: _catboost("json")),
}


@cache
def data_of(name: str) -> bytes:
    return FILES[name][1]()


def job(place: Place, data: bytes, name: str, **version: Any) -> Any:
    path = place.data / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    place.source(rows(3))
    one = {"version": "v1", "uri": f"{{models}}/{name}", "in_force_from": MONTH, **version}
    return place.job(model={"versions": [one]})


@pytest.mark.parametrize("name", FILES)
def test_each_is_known_by_its_content(empty: Place, name: str):
    data, kind = data_of(name), FILES[name][0]
    assert kind_of(data) == kind
    pinned = {"sha256": hashlib.sha256(data).hexdigest()}
    for called in ("v1", "v1.bin", *(f"v1.{other}" for other in NAMES)):
        manifest = run_steps(empty.run(job(empty, data, called, **pinned)))
        assert manifest.model.format == kind
        assert predictions(manifest).num_rows == 3


@pytest.mark.parametrize("declared", NAMES)
@pytest.mark.parametrize("name", FILES)
def test_a_format_that_is_not_the_files_is_refused_with_the_right_one(
    empty: Place, name: str, declared: str
):
    data, kind = data_of(name), FILES[name][0]
    pinned = {"format": declared, "sha256": hashlib.sha256(data).hexdigest()}
    wanted = empty.run(job(empty, data, "v1.bin", **pinned))
    if declared == kind:
        assert run_steps(wanted).model.format == kind
        return
    with pytest.raises(ModelError) as found:
        run_steps(wanted)
    assert f"is {NAMES[kind]}, and the job file says format: {declared}" in str(found.value)
    assert f"Write format: {kind}" in str(found.value)


class Exploding:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return (Path.touch, (self.proof,))


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("protocol", [0, 1, 2, 5])
@pytest.mark.parametrize("kind", [*DATA_FORMATS, "cbm", "ubj"])
def test_a_pickle_under_a_name_of_data_runs_nothing_without_a_digest(
    empty: Place, tmp_path: Path, kind: str, protocol: int, declared: bool
):
    proof = tmp_path / "proof"
    data = pickle.dumps(Exploding(proof), protocol=protocol)
    if declared and kind not in DATA_FORMATS:
        with pytest.raises(JobError):
            job(empty, data, "v1.bin", format=kind)
        return
    wanted = job(empty, data, "v1.bin", format=kind) if declared else job(empty, data, f"v1.{kind}")
    with pytest.raises(ModelError):
        run_steps(empty.run(wanted))
    assert not proof.exists()


@pytest.mark.parametrize("name", [name for name, (kind, _) in FILES.items() if kind != "joblib"])
def test_data_needs_no_digest(empty: Place, name: str):
    kind = FILES[name][0]
    manifest = run_steps(empty.run(job(empty, data_of(name), "v1.bin", format=kind)))
    assert manifest.model.sha256 == hashlib.sha256(data_of(name)).hexdigest()


@pytest.mark.parametrize("name", ["v1.txt", "v1.json", "v1.bin", "v1.model"])
def test_a_name_that_could_be_anything_needs_a_digest_or_a_format(empty: Place, name: str):
    with pytest.raises(JobError, match=r"sha256: missing.* format: lightgbm"):
        job(empty, data_of("lightgbm"), name)


def test_an_environment_is_not_for_these_formats(empty: Place):
    environment = {"python": "3.11", "requirements": ["lightgbm"]}
    wanted = job(empty, data_of("lightgbm"), "v1.lightgbm", environment=environment)
    with pytest.raises(ModelError, match=r"is a lightgbm file; environment is for joblib"):
        run_steps(empty.run(wanted))


def test_a_scorer_is_given_the_librarys_own_objects(empty: Place):
    data = data_of("lightgbm")
    (empty.data / "models").mkdir(parents=True)
    (empty.data / "models" / "low.ubj").write_bytes(data_of("ubj"))
    (empty.data / "models" / "v1.lightgbm").write_bytes(data)
    empty.source(rows(3))
    scorer = empty.scorer(
        "def run(df, model, low):\n"
        "    y = low.inplace_predict(df) - model.predict(df)\n"
        "    return df.assign(y=y)[['y']]\n"
    )
    one = {"version": "v1", "uri": "{models}/v1.lightgbm", "in_force_from": MONTH}
    model = {"versions": [one], "files": {"low": {"uri": "{models}/low.ubj"}}}
    manifest = run_steps(empty.run(empty.job(scorer=scorer, model=model)))
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    booster = xgboost.Booster(model_file=bytearray(data_of("ubj")))
    expected = booster.inplace_predict(frame) - lightgbm.Booster(model_str=data.decode()).predict(
        frame
    )
    assert predictions(manifest)["y"].to_pylist() == expected.tolist()
    assert manifest.model.files["low"].format == "xgboost"
