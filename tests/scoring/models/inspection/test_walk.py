"""What is listed of a pickle is what an unpickler would ask for, and nothing of it is executed."""

from __future__ import annotations

import _compat_pickle
import datetime
import decimal
import fractions
import io
import os
import pickle
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joblib.numpy_pickle import NumpyUnpickler
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from scoring.models.inspection.arrays import array_size, has_objects
from scoring.models.inspection.found import COMPUTED, BrokenPickleError, Global, Made
from scoring.models.inspection.walk import walk

Names = Counter[tuple[str, str]]


class Stub:
    """Takes the place of whatever a hostile pickle asks for: calling it does nothing."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take any arguments."""

    def __setstate__(self, state: Any) -> None:
        """Take any state."""

    def __call__(self, *args: Any) -> Any:
        return Stub()


class Recording(NumpyUnpickler):
    """joblib's own unpickler, that records what it asks for; ``real`` says whether it gets it."""

    def __init__(self, data: bytes, real: bool) -> None:
        super().__init__("", io.BytesIO(data), ensure_native_byte_order=False)
        self.asked: Names = Counter()
        self.real = real

    def find_class(self, module: str, name: str) -> Any:
        found = module, name
        if self.proto < 3:
            moved = _compat_pickle.IMPORT_MAPPING.get(module, module)
            found = _compat_pickle.NAME_MAPPING.get((module, name), (moved, name))
        self.asked[found] += 1
        return super().find_class(module, name) if self.real else Stub


def asked(data: bytes, real: bool = True) -> Names:
    unpickler = Recording(data, real)
    unpickler.load()
    return unpickler.asked


def listed(data: bytes) -> Names:
    found = walk(data)
    assert found.broken is None
    return Counter({(one.module, one.name): n for one, n in found.imported.items()})


def dumped(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    return file.getvalue()


FRAME = pd.DataFrame({"a": np.arange(60.0), "b": ["x", "y", "z"] * 20})
LABELS = np.array(["no", "yes", "never"] * 20)
MODELS = {
    "linear": LinearRegression().fit(FRAME[["a"]], FRAME["a"]),
    "forest": RandomForestClassifier(3, random_state=0).fit(FRAME[["a"]], LABELS),
    "boosting": HistGradientBoostingClassifier(max_iter=3).fit(FRAME[["a"]], LABELS),
    "pipeline": make_pipeline(
        make_column_transformer(
            (OneHotEncoder(), ["b"]), (FunctionTransformer(np.log1p), ["a"]), sparse_threshold=1
        ),
        StandardScaler(with_mean=False),
        LinearRegression(),
    ).fit(FRAME, FRAME["a"]),
    "frame": FRAME,
    "arrays": {
        "objects": np.array([["a", None], [1.5, np.float32(2)]], dtype=object),
        "fields": np.zeros(3, dtype=[("n", "i4"), ("s", "U5"), ("m", "f8", (2, 2))]),
        "of fields with objects": np.array([(1, "x")], dtype=[("n", "i4"), ("o", "O")]),
        "moments": np.array(["2013-01-01"], dtype="M8[us]"),
        "empty": np.zeros((0, 3)),
        "scalar": np.array(1.5),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "again": [FRAME["a"].to_numpy()] * 2,
    },
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", MODELS)
def test_what_is_listed_of_a_pickle_is_what_is_asked_for(name: str, protocol: int):
    data = pickle.dumps(MODELS[name], protocol)
    assert listed(data) == asked(data)
    assert sum(listed(data).values()) > 0


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", MODELS)
def test_what_is_listed_of_a_joblib_file_is_what_is_asked_for(name: str, protocol: int):
    data = dumped(MODELS[name], protocol=protocol)
    assert listed(data) == asked(data)
    assert ("joblib.numpy_pickle", "NumpyArrayWrapper") in listed(data)


SIMPLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
    st.complex_numbers(), st.dates(), st.datetimes(), st.timedeltas(), st.uuids(), st.decimals(),
    st.fractions(), st.binary().map(bytearray), st.integers(0, 9).map(range),
    st.floats(width=32).map(np.float32), st.integers(0, 9).map(lambda n: slice(n, None)),
    st.lists(st.floats()).map(np.array), st.lists(st.text()).map(lambda v: np.array(v, object)),
    st.sampled_from([len, print, os.path.join, datetime.date, decimal.Decimal, uuid.UUID]),
    st.sampled_from([fractions.Fraction, Path("x"), np.ndarray, np.log1p, datetime.UTC]),
)  # fmt: skip
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.text(), inner),
        st.lists(inner).map(deque), st.dictionaries(st.text(), inner).map(OrderedDict),
        st.dictionaries(st.text(), inner).map(lambda d: defaultdict(list, d)),
        inner.map(lambda value: [value, value]), st.sets(st.text()), st.frozensets(st.integers()),
    ),
)  # fmt: skip


@given(value=VALUES, protocol=st.integers(0, 5))
def test_any_value_of_any_protocol(value: Any, protocol: int):
    data = pickle.dumps(value, protocol)
    assert listed(data) == asked(data)


@given(value=VALUES, protocol=st.integers(2, 5))
def test_any_value_that_joblib_writes(value: Any, protocol: int):
    data = dumped(value, protocol=protocol)
    assert listed(data) == asked(data)


class Reduced:
    """An object whose pickle calls ``maker`` with ``args``."""

    def __init__(self, maker: Any, *args: Any) -> None:
        self.made = (maker, args)

    def __reduce__(self) -> Any:
        return self.made


def hostile(proof: Path) -> dict[str, tuple[bytes, set[str]]]:
    """Pickles that would write the file ``proof``, and the names that they would import."""
    touch = f"touch {proof}".encode()
    code = f"open({str(proof)!r}, 'w').close()"
    text = b"\x8c" + bytes([len(touch)]) + touch
    line = b"S'" + touch + b"'\n"
    nested = Reduced(exec, Reduced(str.__add__, code, ""))
    return {
        "os.system": (pickle.dumps(Reduced(os.system, touch.decode())), {"posix.system"}),
        "exec": (pickle.dumps(Reduced(exec, code)), {"builtins.exec"}),
        "old exec": (pickle.dumps(Reduced(exec, code), 0), {"builtins.exec"}),
        "in a list": (pickle.dumps([1, {"a": Reduced(eval, code)}]), {"builtins.eval"}),
        "nested": (
            pickle.dumps(nested),
            {"builtins.exec", "builtins.getattr", "builtins.str", "(computed)"},
        ),
        "by joblib": (
            dumped([np.arange(3), Reduced(exec, code)]),
            {
                "builtins.exec",
                "joblib.numpy_pickle.NumpyArrayWrapper",
                "numpy.ndarray",
                "numpy.dtype",
            },
        ),
        "within an array": (
            dumped(np.array([Reduced(exec, code)], dtype=object)),
            {
                "builtins.exec",
                "joblib.numpy_pickle.NumpyArrayWrapper",
                "numpy.ndarray",
                "numpy.dtype",
                "numpy._core.multiarray._reconstruct",
            },
        ),
        "names in the memo": (
            b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x9400h\x01h\x00\x93" + text + b"\x85R.",
            {"posix.system"},
        ),
        "names that are put": (
            b"\x80\x04\x8c\x06systemq\x070\x8c\x05posixr\x09\x00\x00\x000j\x09\x00\x00\x00h\x07\x93"
            + text
            + b"\x85R.",
            {"posix.system"},
        ),
        "a dotted name": (
            b"\x80\x04cpathlib\nos.system\n" + text + b"\x85R.",
            {"pathlib.os.system"},
        ),
        "INST": (b"(" + line + b"ios\nsystem\n.", {"os.system"}),
        "OBJ": (b"(cos\nsystem\n" + line + b"o.", {"os.system"}),
        "a name of Python 2": (b"c__builtin__\neval\n(" + line + b"tR.", {"builtins.eval"}),
        "behind another pickle": (
            pickle.dumps(1) + pickle.dumps(Reduced(exec, code)),
            {"builtins.exec"},
        ),
        "NEWOBJ_EX": (
            b"\x80\x04cos\nsystem\n(" + text + b"t}\x92.",
            {"os.system"},
        ),
        "the state of an instance": (
            b"\x80\x04cargparse\nNamespace\n)\x81cos\nsystem\n" + text + b"\x85Rb.",
            {"argparse.Namespace", "os.system"},
        ),
    }


CASES = list(hostile(Path("proof")))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_pickle_is_listed_and_not_executed(name: str, tmp_path: Path):
    proof = tmp_path / "proof"
    data, names = hostile(proof)[name]
    found = walk(data)
    assert found.broken is None
    assert {str(one) for one in found.imported} == names
    assert not proof.exists()
    if name not in ("behind another pickle", "by joblib", "within an array"):
        # An unpickler stops at the first pickle, and takes no stub for an array.
        assert {".".join(one) for one in asked(data, real=False)} == names - {"(computed)"}
    assert any(found.called.values())


def test_the_hostile_pickles_would_do_it(tmp_path: Path):
    for name in ("os.system", "INST", "names in the memo", "a dotted name", "by joblib"):
        proof = tmp_path / name.replace(" ", "-")
        joblib.load(io.BytesIO(hostile(proof)[name][0]))
        assert proof.exists(), name


def test_a_name_that_is_computed_is_said_to_be():
    made = pickle.dumps(Reduced(str.upper, "system"))[:-1].partition(b"\x95")[2][8:]
    data = b"\x80\x04\x8c\x05posix" + made + b"\x93\x8c\x04true\x85R."
    found = walk(data)
    assert found.broken is None
    assert COMPUTED in found.imported


def test_what_a_call_returned_is_called():
    data = b"\x80\x04cbuiltins\ngetattr\ncos\npath\n\x8c\x02os\x86R\x8c\x04true\x85R."
    found = walk(data)
    assert {str(one) for one in found.imported} == {
        "builtins.getattr", "os.path", "(computed)",
    }  # fmt: skip


def test_extensions_and_persistent_references():
    found = walk(b"\x80\x02\x82\xf0\x84\x01\x02\x03\x04\x86.")
    assert {str(one) for one in found.imported} == {
        "(copyreg extension).240", "(copyreg extension).67305985",
    }  # fmt: skip
    assert walk(b"Pelsewhere\n.").persistent == 1
    assert walk(b"\x80\x02K\x01Q.").persistent == 1


def test_bytes_that_begin_as_a_pickle_are_counted():
    assert walk(pickle.dumps([pickle.dumps(1), b"other", pickle.dumps(2, 2)])).inside == 2


MODEL = dumped({"a": np.arange(100.0), "b": StandardScaler().fit(FRAME[["a"]])})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (MODEL[:-1], "breaks off"),
        (MODEL[:200], "breaks off"),
        (MODEL + b"\xff", "what follows the first pickle"),
        (b"", "is empty"),
        (b"\x80\x04h\x05.", "5"),
        (b"\x80\x04R.", "breaks off"),
        (b"\x80\x05\x97.", "buffer outside of the file"),
        (MODEL.replace(b"joblib.numpy_pickle", b"joblib.numpy_pickl3"), "read as an array is a"),
        (b"\x80\x04cos\nsystem\n}\x8c\x01a\x8c\x01bsb.", "it changes os.system"),
    ],
)
def test_where_a_pickle_cannot_be_followed_is_said(data: bytes, why: str):
    found = walk(data)
    assert found.broken is not None
    assert why in found.broken


def test_what_comes_before_the_break_is_listed(tmp_path: Path):
    data, names = hostile(tmp_path / "proof")["os.system"]
    found = walk(data[:-2])
    assert {str(one) for one in found.imported} == names
    assert found.broken is not None


def test_an_array_within_a_frame_is_not_believed():
    begin = MODEL.index(b"\x95") + 1
    longer = int.from_bytes(MODEL[begin : begin + 8], "little") + 4
    data = MODEL[:begin] + longer.to_bytes(8, "little") + MODEL[begin + 8 :]
    found = walk(data)
    assert found.broken is not None
    assert "in the middle of a frame" in found.broken


def of_type(text: str, *state: Any) -> Made:
    return Made(Global("numpy", "dtype"), (text, False, True), state or None)


def test_a_type_that_lies_about_itself_is_not_believed():
    honest = np.dtype("f8").__reduce__()[2]
    assert has_objects(of_type("f8", *honest)) is False
    assert array_size((2, 3), of_type("f8", *honest)) == 48
    assert has_objects(of_type("O8", *np.dtype("O").__reduce__()[2])) is True
    assert array_size((), of_type("U3", *np.dtype("U3").__reduce__()[2])) == 12
    with pytest.raises(BrokenPickleError, match="another size"):
        array_size((2,), of_type("V8", 3, "|", None, None, None, 16, 1, 0))
    with pytest.raises(BrokenPickleError, match="whether it has objects"):
        has_objects(of_type("i8", 3, "<", None, None, None, -1, -1, 63))
    for wrong in (of_type("f8,O"), Made(Global("os", "system"), ("f8",)), None):
        with pytest.raises(BrokenPickleError, match="an array"):
            has_objects(wrong)


def test_deep_pickles_end():
    data = b"\x80\x04" + b"(" * 100_000 + b"." + b"]" * 1000
    assert walk(data).broken is not None
