"""Encoders that read the codes of texts: the result of scikit-learn's own, to the bit, or its own."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from scoring.arrow.frame import to_frame
from scoring.job.inputs import ColumnConfig
from scoring.models.encoders import EncodeByCodes, encode_by_codes

TEXTS = ["EWR", "JFK", "LGA", "", "é", "nan", "a rather long text"]
TRAINED_ON = pd.DataFrame(
    {
        "a": [*TEXTS[:4], np.nan, "EWR", "EWR", "JFK"],
        "b": ["x", "y", "x", "y", "x", "y", "z", "x"],
    },
    dtype=object,
)

ENCODERS = [
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=-2),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9, dtype=np.int32, encoded_missing_value=7),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=2),
    OrdinalEncoder(),
    OneHotEncoder(handle_unknown="ignore"),
    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    OneHotEncoder(handle_unknown="ignore", drop="first"),
    OneHotEncoder(handle_unknown="ignore", drop="if_binary", sparse_output=False, dtype=np.float32),
    OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2),
    OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=2, sparse_output=False),
    OneHotEncoder(),
]  # fmt: skip

COLUMNS = {"a": ColumnConfig(type="string"), "b": ColumnConfig(type="string")}

ROWS = st.lists(
    st.tuples(
        st.sampled_from([*TEXTS, "unknown", None]), st.sampled_from(["x", "y", "z", "w", None])
    ),
    min_size=1,
    max_size=40,
)


def table(rows: list[tuple[str | None, ...]]) -> pa.Table:
    """Rows of the columns a and b, with texts in their dictionaries that no row has."""
    columns = {}
    for name, values in zip("ab", zip(*rows, strict=True), strict=True):
        encoded = pa.array(["not in any row", *values], pa.string()).dictionary_encode()
        columns[name] = encoded.slice(1)
    return pa.table(columns)


def fitted(encoder: Any) -> Any:
    return clone(encoder).fit(TRAINED_ON)


def outcome(transform: Any, frame: pd.DataFrame) -> list[Any]:
    """What ``transform`` returns, bit by bit, or what it raises."""
    try:
        found = transform(frame)
    except ValueError as error:
        return [type(error), str(error)]
    if sparse.issparse(found):
        return [type(found), found.shape, *map(parts, (found.data, found.indices, found.indptr))]
    return [type(found), *parts(found), found.flags.c_contiguous]


def parts(array: np.ndarray) -> list[Any]:
    return [array.dtype, array.shape, array.tobytes()]


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@given(rows=ROWS)
@settings(max_examples=40, deadline=None)
def test_codes_are_encoded_as_their_texts(encoder: Any, rows: list[tuple[str | None, ...]]):
    encoder = fitted(encoder)
    coded = to_frame(table(rows), COLUMNS, coded=["a", "b"])
    assert [str(kind) for kind in coded.dtypes] == ["category", "category"]
    by_codes = EncodeByCodes(encoder)
    assert outcome(by_codes, coded) == outcome(encoder.transform, to_frame(table(rows), COLUMNS))
    assert by_codes.why_not is None


ORDINAL = OrdinalEncoder(
    handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
)
ONE_HOT, DENSE = ENCODERS[5], ENCODERS[6]
IMPUTER = SimpleImputer(strategy="most_frequent")


def pipeline(*steps: tuple[Any, Any], remainder: Any = "drop") -> Pipeline:
    transformers = [(f"t{n}", step, columns) for n, (step, columns) in enumerate(steps)]
    frame = TRAINED_ON.assign(n=range(8))
    made = make_pipeline(ColumnTransformer(transformers, remainder=remainder), LinearRegression())
    return made.fit(frame, range(8))


@pytest.mark.parametrize(
    ("made", "coded"),
    [
        (lambda: pipeline((ORDINAL, ["a", "b"]), ("passthrough", ["n"])), {"a", "b"}),
        (lambda: pipeline((ORDINAL, ["a"]), (ONE_HOT, ["b"])), {"a", "b"}),
        (lambda: pipeline((ORDINAL, [0]), (ONE_HOT, slice("b", "b"))), {"a", "b"}),
        (lambda: pipeline((ORDINAL, [True, False, False]), (StandardScaler(), ["n"])), {"a"}),
        (lambda: pipeline((ORDINAL, lambda frame: ["b"])), {"b"}),
        (lambda: pipeline((ORDINAL, ["b"]), ("drop", ["a", "b"])), {"b"}),
        (lambda: pipeline((make_pipeline(ORDINAL, StandardScaler()), ["b"])), {"b"}),
        # Something else sees the texts, too.
        (lambda: pipeline((ORDINAL, ["a", "b"]), (make_pipeline(IMPUTER, ONE_HOT), ["a"])), {"b"}),
        (lambda: pipeline((DENSE, ["b"]), remainder=DENSE), {"a", "b", "n"}),
        (lambda: make_pipeline(ORDINAL, LinearRegression()).fit(TRAINED_ON, range(8)), {"a", "b"}),
        (lambda: make_pipeline(ORDINAL, LinearRegression()).fit(TRAINED_ON.to_numpy(), range(8)), set()),
        (lambda: fitted(ENCODERS[0]), set()),
        (lambda: {"a": "dictionary"}, set()),
    ],
)  # fmt: skip
def test_inputs_that_only_encoders_see_may_be_coded(made: Any, coded: set[str]):
    assert encode_by_codes(made()) == coded


def test_a_pipeline_predicts_the_same_from_codes():
    of_texts = pipeline((ORDINAL, ["a"]), (ONE_HOT, ["b"]), ("passthrough", ["n"]))
    of_codes = copy.deepcopy(of_texts)
    coded = encode_by_codes(of_codes)
    rows = [(text, other) for text in [*TEXTS, None, "new"] for other in ["x", "z", "w"]]
    columns = COLUMNS | {"n": ColumnConfig(type="int64")}
    full = table(rows).append_column("n", pa.array(range(len(rows))))
    frame = to_frame(full, columns, coded)
    want = of_texts.predict(to_frame(full, columns)).tobytes()
    assert of_codes.predict(frame).tobytes() == want
    # So do its copies, and other rows after the first ones, which were compared.
    for copied in (copy.deepcopy(of_codes), pickle.loads(pickle.dumps(of_codes))):
        assert copied.predict(frame).tobytes() == want
        assert copied.predict(frame[:2]).tobytes() == want[:16]
    assert of_codes.predict(to_frame(full, columns)).tobytes() == want


def test_an_encoder_that_looks_at_more_than_a_text_is_left_alone(caplog: pytest.LogCaptureFixture):
    class Counts(OrdinalEncoder):
        def transform(self, X: pd.DataFrame) -> np.ndarray:
            return np.full(X.shape, float(len(X)))

    by_codes = EncodeByCodes(Counts().fit(TRAINED_ON))
    frame = to_frame(table([("EWR", "x")] * 5), COLUMNS, coded=["a", "b"])
    with caplog.at_level(logging.WARNING):
        assert by_codes(frame).tolist() == [[5.0, 5.0]] * 5
        assert by_codes(frame).tolist() == [[5.0, 5.0]] * 5
    assert by_codes.why_not == "Counts encodes texts otherwise than their codes"
    assert len(caplog.messages) == 1


def test_frames_of_others_go_to_scikit_learn_as_they_are():
    numbers = pd.DataFrame({"a": [3, 1, 2, 1], "b": [1, 1, 2, 2]})
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(numbers)
    by_codes = EncodeByCodes(encoder)
    for frame in (numbers, numbers.astype("category"), numbers.to_numpy()):
        assert outcome(by_codes, frame) == outcome(encoder.transform, frame)


def test_a_dictionary_that_has_a_text_twice_or_a_null_is_not_coded():
    numbers = pa.array([0, 1, 2], pa.int32())
    for texts in (["x", "y", "x"], ["x", None, "y"]):
        column = pa.DictionaryArray.from_arrays(numbers, pa.array(texts))
        frame = to_frame(pa.table({"a": column}), {"a": COLUMNS["a"]}, coded=["a"])
        assert frame.a.dtype == object
        assert frame.a.fillna("null").tolist() == [text or "null" for text in texts]
