"""Models by their content, what they are given, further files, and releases that are accepted."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import pickle
import warnings
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from scoring.errors import JobError, ModelError, ScorerError
from scoring.models.content import kind_of, saved_with
from tests.scoring.factories import MONTH, Place, linear, predictions, rows, run_steps


def version(place: Place, data: bytes, name: str, **more: Any) -> dict[str, Any]:
    """A version of the job's model whose file ``name`` has ``data``."""
    path = place.data / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    found = {"version": "v1", "uri": f"{{models}}/{name}", "in_force_from": MONTH}
    return found | {"sha256": hashlib.sha256(data).hexdigest()} | more


def joblib_bytes(model: Any, folder: Path, **options: Any) -> bytes:
    joblib.dump(model, folder / "dumped", **options)
    return (folder / "dumped").read_bytes()


@pytest.mark.parametrize("name", ["v1.pkl", "v1.bin", "v1", "v1.skops", "v1.joblib", "v1.model"])
def test_a_file_is_what_its_bytes_are(empty: Place, name: str, tmp_path: Path):
    empty.source(rows(3))
    for data in (
        pickle.dumps(linear()),
        pickle.dumps(linear(), protocol=2),
        joblib_bytes(linear(), tmp_path),
        joblib_bytes(linear(), tmp_path, compress=3),
        skops.io.dumps(linear()),
    ):
        model = {"versions": [version(empty, data, name)]}
        manifest = run_steps(empty.run(empty.job(model=model)))
        assert predictions(manifest)["y"].to_pylist() == pytest.approx([2.0, 4.0, 6.0])
        assert manifest.model.format == kind_of(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (pickle.dumps({"a": 1}), "joblib"),
        (pickle.dumps({"a": 1}, protocol=2), "joblib"),
        (zlib.compress(pickle.dumps(1)), "joblib"),
        (gzip.compress(pickle.dumps(1)), "joblib"),
        (bz2.compress(pickle.dumps(1)), "joblib"),
        (lzma.compress(pickle.dumps(1)), "joblib"),
        (skops.io.dumps({"a": 1}), "skops"),
        (b"PK\x03\x04 and then nothing", "skops"),
        (pickle.dumps(1, protocol=0), None),
        (b"\x89HDF", None),
        (b"", None),
    ],
    ids=["pickle", "old", "zlib", "gzip", "bz2", "xz", "skops", "torn", "text", "hdf", "none"],
)
def test_the_kind_of_some_bytes(data: bytes, kind: str | None):
    assert kind_of(data) == kind


def test_unknown_bytes_ask_for_the_format(empty: Place):
    empty.source(rows(3))
    versions = [version(empty, pickle.dumps(linear(), protocol=0), "v1.bin")]
    with pytest.raises(ModelError, match=r"by its first bytes .*; say what it is with format"):
        run_steps(empty.run(empty.job(model={"versions": versions})))
    versions[0]["format"] = "joblib"
    run_steps(empty.run(empty.job(model={"versions": versions})))


@pytest.mark.parametrize("name", ["v1.pkl", "v1.bin", "v1", "v1.joblib"])
def test_a_file_that_is_not_called_skops_needs_a_digest(empty: Place, name: str):
    wanted = version(empty, pickle.dumps(linear()), name)
    with pytest.raises(JobError, match=r"sha256: missing; a file that is not skops can run code"):
        empty.job(model={"versions": [wanted | {"sha256": None}]})


class Exploding:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return (Path.touch, (self.proof,))


@pytest.mark.parametrize("compress", [False, True])
def test_a_pickle_that_is_called_skops_runs_nothing_without_a_digest(
    empty: Place, tmp_path: Path, compress: bool
):
    proof = tmp_path / "proof"
    data = pickle.dumps(Exploding(proof))
    wanted = version(empty, zlib.compress(data) if compress else data, "v1.skops")
    del wanted["sha256"]
    empty.source(rows(3))
    with pytest.raises(ModelError, match="is a pickle, whatever its name says"):
        run_steps(empty.run(empty.job(model={"versions": [wanted]})))
    assert not proof.exists()


def test_records_for_a_vectorizer_and_an_array_for_a_model_of_arrays(empty: Place):
    frame = pd.DataFrame({"zone": ["a", "b", "a", "c"], "x": [1.0, 2.0, 3.0, 4.0]})
    model = make_pipeline(DictVectorizer(), LinearRegression())
    model.fit(frame.to_dict(orient="records"), [1.0, 4.0, 3.0, 9.0])
    empty.source(pa.Table.from_pandas(frame.assign(id=range(4)), preserve_index=False))
    inputs = {"zone": {"type": "string"}, "x": {"type": "float64"}}
    versions = [version(empty, pickle.dumps(model), "pipe.bin")]
    job = empty.job(inputs=inputs, model={"input": "records", "versions": versions})
    assert predictions(run_steps(empty.run(job)))["y"].to_pylist() == list(
        model.predict(frame.to_dict(orient="records"))
    )
    numbers = LinearRegression().fit(
        np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]]), [1.0, 2.0, 3.0]
    )
    empty.source(rows(3, z=[2.0, 1.0, 5.0]))
    versions = [version(empty, pickle.dumps(numbers), "array.bin")]
    inputs = {"z": {"type": "float64"}, "x": {"type": "float64"}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # scikit-learn warns of names that it was not fitted with
        job = empty.job(inputs=inputs, model={"input": "array", "versions": versions})
        found = predictions(run_steps(empty.run(job)))["y"].to_pylist()
    expected = numbers.predict(np.array([[2.0, 1.0], [1.0, 2.0], [5.0, 3.0]]))
    assert found == pytest.approx(list(expected))


SCORER = """
def run(df, model, dv, zones):
    records = dv.transform(df.to_dict(orient="records"))
    return df.assign(y=model.predict(records), name=df.zone.map(zones))[["y", "name"]]
"""


def with_files(
    place: Place,
) -> tuple[dict[str, Any], DictVectorizer, LinearRegression, pd.DataFrame]:
    frame = pd.DataFrame({"zone": ["a", "b", "a", "c"], "x": [1.0, 2.0, 3.0, 4.0]})
    vectorizer = DictVectorizer()
    model = LinearRegression().fit(
        vectorizer.fit_transform(frame.to_dict(orient="records")), [1.0, 4.0, 3.0, 9.0]
    )
    place.source(pa.Table.from_pandas(frame.assign(id=range(4)), preserve_index=False))
    dv = version(place, pickle.dumps(vectorizer), "dv.pkl")
    zones = version(place, json.dumps({"a": "Ash", "b": "Bay", "c": "Cay"}).encode(), "zones.json")
    files = {
        "dv": {key: dv[key] for key in ("uri", "sha256")},
        "zones": {key: zones[key] for key in ("uri", "sha256")},
    }
    versions = [version(place, pickle.dumps(model), "lin_reg.bin")]
    changes = {
        "inputs": {"zone": {"type": "string"}, "x": {"type": "float64"}},
        "scorer": place.scorer(SCORER),
        "model": {"files": files, "versions": versions},
    }
    return changes, vectorizer, model, frame


def test_a_scorer_is_given_further_files_by_name(empty: Place):
    changes, vectorizer, model, frame = with_files(empty)
    manifest = run_steps(empty.run(empty.job(**changes)))
    found = predictions(manifest).to_pydict()
    records = vectorizer.transform(frame.to_dict(orient="records"))
    assert found["y"] == list(model.predict(records))
    assert found["name"] == ["Ash", "Bay", "Ash", "Cay"]
    recorded = manifest.model.files
    assert {name: file.format for name, file in recorded.items()} == {
        "dv": "joblib",
        "zones": "json",
    }
    assert recorded["dv"].sha256 == changes["model"]["files"]["dv"]["sha256"]
    # A version's own file counts instead of the model's.
    own = version(empty, json.dumps({"a": "Elm", "b": "Fir", "c": "Gum"}).encode(), "other.json")
    changes["model"]["versions"][0]["files"] = {"zones": {k: own[k] for k in ("uri", "sha256")}}
    assert predictions(run_steps(empty.run(empty.job(**changes))))["name"].to_pylist() == [
        "Elm", "Fir", "Elm", "Gum",
    ]  # fmt: skip


def test_a_file_with_another_digest_is_not_loaded(empty: Place):
    changes, *_ = with_files(empty)
    (empty.data / "models" / "dv.pkl").write_bytes(pickle.dumps(DictVectorizer()))
    with pytest.raises(ModelError, match=r"dv.pkl is not the file that sample pins as v1 dv"):
        run_steps(empty.run(empty.job(**changes)))


def test_what_is_wrong_with_further_files_is_named(empty: Place):
    changes, *_ = with_files(empty)
    files = changes["model"]["files"]
    with pytest.raises(JobError, match=r"model.files: requires a scorer"):
        empty.job(**changes | {"scorer": None})
    with pytest.raises(JobError, match=r"model.files.dv.sha256: missing"):
        empty.job(**changes | {"model": {"files": {"dv": files["dv"] | {"sha256": None}}}})
    with pytest.raises(JobError, match=r"model.files.df: is what run is given already"):
        empty.job(**changes | {"model": changes["model"] | {"files": {"df": files["dv"]}}})
    scorer = empty.scorer("def run(df, model, dv, encoder): ...\n")
    with pytest.raises(ScorerError, match=r"must define run\(df, model\) .*run\(df, model, dv"):
        run_steps(empty.run(empty.job(**changes | {"scorer": scorer})))
    with pytest.raises(JobError, match="always given a DataFrame"):
        empty.job(**changes | {"model": changes["model"] | {"input": "records"}})


def saved_by(release: str) -> bytes:
    """A pickle that says that another scikit-learn saved it, as scikit-learn itself writes it."""
    model = linear()
    state = model.__getstate__()
    assert "_sklearn_version" in state

    class Older(LinearRegression):
        def __reduce__(self) -> Any:
            return (LinearRegression, (), state | {"_sklearn_version": release})

    return pickle.dumps(Older())


@pytest.mark.parametrize("release", ["0.20.3", "0.22.2.post1", "1.0rc1", "1.3.dev0", "1.2.2"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_release_that_a_pickle_of_any_protocol_names(release: str, protocol: int):
    state = {"coef_": [1.0], "_sklearn_version": release, "n_features_in_": 1}
    assert saved_with(pickle.dumps(state, protocol=protocol)) == release
    assert saved_with(pickle.dumps([*range(300), state], protocol=protocol)) == release


def test_a_model_of_an_older_release_passes_where_the_job_accepts_it(empty: Place):
    empty.source(rows(3))
    data = saved_by("1.2.2")
    assert saved_with(data) == "1.2.2"
    with pytest.warns(InconsistentVersionWarning):
        pickle.loads(data)
    versions = [version(empty, data, "old.bin")]
    with pytest.raises(ModelError, match=r'add accept: \{scikit-learn: "1.2"\} to this version'):
        run_steps(empty.run(empty.job(model={"versions": versions})))
    versions[0]["accept"] = {"scikit-learn": "1.3"}
    with pytest.raises(ModelError, match=r"was saved with scikit-learn 1.2.2"):
        run_steps(empty.run(empty.job(model={"versions": versions})))
    versions[0]["accept"] = {"scikit-learn": "1.2"}
    manifest = run_steps(empty.run(empty.job(model={"versions": versions})))
    assert manifest.model.accept == {"scikit-learn": "1.2"}
    assert manifest.model.runtime_versions == {"scikit-learn": "1.2.2"}
    assert predictions(manifest)["y"].to_pylist() == pytest.approx([2.0, 4.0, 6.0])
