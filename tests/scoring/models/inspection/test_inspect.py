"""What is said of a model file of each kind without loading it."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from scoring.errors import ModelError
from scoring.models.inspection.inspect import inspect_model
from scoring.models.inspection.verdicts import verdict
from tests.scoring.factories import linear
from tests.scoring.models.test_formats import data_of


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("sklearn.linear_model._base", "LinearRegression", "known"),
        ("sklearn.tree._tree", "Tree", "known"),
        ("numpy", "ndarray", "known"),
        ("numpy._core.multiarray", "_reconstruct", "known"),
        ("pandas.core.frame", "DataFrame", "known"),
        ("scipy.sparse._csr", "csr_matrix", "known"),
        ("joblib.numpy_pickle", "NumpyArrayWrapper", "known"),
        ("collections", "OrderedDict", "known"),
        ("os", "system", "can run code"),
        ("posix", "system", "can run code"),
        ("builtins", "getattr", "can run code"),
        ("builtins", "exec", "can run code"),
        ("builtins", "__import__", "can run code"),
        ("subprocess", "Popen", "can run code"),
        ("importlib", "import_module", "can run code"),
        ("runpy", "run_path", "can run code"),
        ("functools", "partial", "can run code"),
        ("operator", "methodcaller", "can run code"),
        ("numpy", "load", "can run code"),
        ("joblib.numpy_pickle", "load", "can run code"),
        ("joblib.numpy_pickle_compat", "NDArrayWrapper", "can run code"),
        ("pandas.io.pickle", "read_pickle", "can run code"),
        ("numpy.testing._private.utils", "runstring", "can run code"),
        ("(computed)", "", "can run code"),
        ("numpy", "memmap", "unknown"),
        ("sklearn.base", "clone", "unknown"),
        ("numpy.testing._private.utils", "SomeClass", "unknown"),
        ("sklearn.linear_model", "LinearRegression.fit", "unknown"),
        ("lightgbm.sklearn", "LGBMRegressor", "unknown"),
        ("sklearnx.linear_model", "LinearRegression", "unknown"),
        ("__main__", "Mine", "unknown"),
    ],
)
def test_the_verdict_on_a_name(module: str, name: str, expected: str):
    assert verdict(module, name) == expected


@pytest.mark.parametrize("name", ["onnx", "lightgbm", "json", "ubj", "cbm", "catboost json"])
def test_files_that_are_data_import_nothing(name: str):
    found = inspect_model(data_of(name), "v1.bin")
    assert found.is_data
    assert found.imports == []
    assert found.broken is None
    assert found.sha256 == hashlib.sha256(data_of(name)).hexdigest()


def test_a_model_of_scikit_learn_has_types_of_models_only():
    model = make_pipeline(StandardScaler(), linear()).fit(pd.DataFrame({"x": [1.0, 2.0]}), [1, 2])
    found = inspect_model(pickle.dumps(model), "v1.pkl")
    assert {one.verdict for one in found.imports} == {"known"}
    assert "sklearn.preprocessing._data.StandardScaler" in {one.name for one in found.imports}
    import sklearn

    assert found.versions == {"scikit-learn": sklearn.__version__}
    assert found.notes == []


PACKED = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zlib": zlib.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_pickle_is_unpacked(name: str):
    plain = pickle.dumps([linear(), np.arange(9)])
    packed = PACKED[name](plain)
    found, expected = inspect_model(packed, "v1"), inspect_model(plain, "v1")
    assert found.imports == expected.imports
    assert found.notes == [f"compressed by {name}: {len(plain):,} bytes unpacked"]
    for broken in (packed[:-8], packed + b"more"):
        cut = inspect_model(broken, "v1")
        assert cut.broken is not None
        assert f"compressed by {name} and cannot be unpacked" in cut.broken


@pytest.mark.parametrize("level", [1, 3, 9, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_what_joblib_compresses(level: Any):
    file = io.BytesIO()
    joblib.dump({"m": linear(), "a": np.arange(1000)}, file, compress=level)
    found = inspect_model(file.getvalue(), "v1")
    assert found.broken is None
    assert {one.verdict for one in found.imports} == {"known"}


def test_a_file_that_unpacks_too_far_is_not_unpacked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scoring.storage.decompression.LARGE_BYTES", 1000)
    for pack in PACKED.values():
        found = inspect_model(pack(pickle.dumps(bytes(1_000_000))), "v1")
        assert found.broken is not None
        assert "which is too many" in found.broken


def test_types_of_a_skops_file_and_which_of_them_a_job_has_to_trust():
    model = make_pipeline(FunctionTransformer(np.log1p), linear())
    found = inspect_model(skops.io.dumps(model), "v1.skops")
    trusted = {one.name: one.trusted for one in found.imports}
    assert trusted["sklearn.linear_model._base.LinearRegression"] is True
    assert found.untrusted == skops.io.get_untrusted_types(data=skops.io.dumps(model))
    assert found.versions == {"skops": skops.__version__}


def test_a_type_in_a_skops_file_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lies_beside.py").write_text("class Model: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plain, changed = io.BytesIO(skops.io.dumps(linear())), io.BytesIO()
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.namelist():
            text = old.read(entry)
            if entry == "schema.json":
                text = text.replace(b"sklearn.linear_model._base", b"lies_beside")
            new.writestr(entry, text)
    found = inspect_model(changed.getvalue(), "v1.skops")
    assert found.untrusted == ["lies_beside.LinearRegression"]
    assert "lies_beside" not in sys.modules


def test_a_damaged_skops_file_says_so():
    found = inspect_model(skops.io.dumps(linear())[:-50], "v1.skops")
    assert found.broken is not None
    assert "the skops file cannot be read" in found.broken


@pytest.mark.parametrize("data", [b"", b"# a text", b"\x89HDF\r\n", b'{"a": 1}'])
def test_what_is_not_a_model_file_is_refused(data: bytes):
    with pytest.raises(ModelError, match="is not a model file of a kind that is known"):
        inspect_model(data, "v1.bin")


def test_more_than_one_pickle_is_noted():
    found = inspect_model(pickle.dumps(1) + pickle.dumps(linear()), "v1")
    assert found.notes == ["2 pickles, one after the other; the first one is loaded"]
    assert found.imports
