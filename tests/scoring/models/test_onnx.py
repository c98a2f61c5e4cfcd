"""ONNX files: what onnxruntime itself predicts, bit for bit, from tables of all shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import (
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scoring.errors import ModelError, ScorerError
from scoring.models.onnx import load
from tests.scoring.factories import Place
from tests.scoring.models import native_files
from tests.scoring.models.native_files import (
    CLASS,
    INPUTS,
    TARGET,
    THREE,
    as_pandas_reads_it,
    check_alone_as_together,
    column,
    model_file,
    publish,
    same_bits,
    stored_type,
)

FRAME = native_files.FRAME.assign(zone=native_files.FRAME["zone"].fillna("nowhere"))
X = FRAME.drop(columns="id")
NUMBERS = X[["distance", "day"]]
OF_NUMBERS = {name: INPUTS[name] for name in NUMBERS}
TENSOR = [("X", FloatTensorType([None, 2]))]
COLUMNS = [
    ("distance", FloatTensorType([None, 1])),
    ("zone", StringTensorType([None, 1])),
    ("day", Int64TensorType([None, 1])),
]


def bytes_of(model: Any, types: Any = TENSOR, zipmap: bool = True) -> bytes:
    classifier = hasattr(model, "predict_proba")
    options = {id(model): {"zipmap": zipmap}} if classifier else None
    found: bytes = convert_sklearn(
        model, initial_types=types, options=options, target_opset=18
    ).SerializeToString()
    return found


def with_columns(estimator: Any, target: Any) -> Any:
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["zone"]), (StandardScaler(), ["distance", "day"])
    )
    return make_pipeline(encoder, estimator).fit(X.fillna({"distance": 0.0}), target)


def runtime(data: bytes, feeds: dict[str, Any]) -> list[Any]:
    """What onnxruntime returns by itself, with one thread: two add up trees in another order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    found: list[Any] = onnxruntime.InferenceSession(data, options).run(None, feeds)
    return found


def feeds_of(frame: pd.DataFrame) -> dict[str, Any]:
    return {
        "distance": frame[["distance"]].to_numpy(np.float32),
        "zone": frame[["zone"]].to_numpy(object),
        "day": frame[["day"]].to_numpy(np.int64),
    }


def test_a_regressor_of_one_tensor_with_nulls(empty: Place):
    model = make_pipeline(SimpleImputer(), LinearRegression()).fit(NUMBERS.to_numpy(), TARGET)
    data = bytes_of(model)
    manifest = publish(empty, data, "v1.onnx", OF_NUMBERS, frame=FRAME)
    numbers = as_pandas_reads_it(empty)[["distance", "day"]].to_numpy(np.float32)
    assert np.isnan(numbers).any()
    assert same_bits(column(manifest), runtime(data, {"X": numbers})[0].ravel())
    assert stored_type(manifest) == "float"
    assert manifest.model.runtime_versions["onnxruntime"] == onnxruntime.__version__
    assert "skl2onnx (saved by)" in manifest.model.runtime_versions


def test_a_regressor_with_an_input_for_each_column(empty: Place):
    frame = FRAME.fillna({"distance": 0.0})
    data = bytes_of(with_columns(LinearRegression(), TARGET), COLUMNS)
    manifest = publish(empty, data, "v1.onnx", frame=frame)
    expected = runtime(data, feeds_of(as_pandas_reads_it(empty)))[0].ravel()
    assert same_bits(column(manifest), expected)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize(
    "target", [CLASS, np.array(["early", "late", "never"])[THREE], np.array([7, 3, 5])[THREE]],
    ids=["two", "texts", "numbers"],
)  # fmt: skip
def test_a_classifier_predicts_labels_and_probabilities(empty: Place, target: Any, zipmap: bool):
    frame = FRAME.fillna({"distance": 0.0})
    labels = sorted(set(target.tolist()))
    wanted = {f"p_{label}": label for label in labels}
    for estimator in (LogisticRegression(), RandomForestClassifier(10, random_state=0)):
        model = with_columns(estimator, target)
        data = bytes_of(model, COLUMNS, zipmap)
        manifest = publish(empty, data, "v1.onnx", frame=frame, probabilities=wanted)
        predicted, probabilities = runtime(data, feeds_of(as_pandas_reads_it(empty)))
        assert column(manifest).tolist() == predicted.tolist()
        for number, (name, label) in enumerate(wanted.items()):
            of_label = (
                np.array([row[label] for row in probabilities], np.float32)
                if zipmap
                else np.ascontiguousarray(probabilities[:, number])
            )
            assert same_bits(column(manifest, name), of_label)


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_row_alone_has_the_bits_of_the_row_among_others(zipmap: bool):
    frame = X.fillna({"distance": 0.0})
    wanted = {"probabilities": {"p0": 0, "p1": 1, "p2": 2}}
    data = bytes_of(with_columns(LogisticRegression(), THREE), COLUMNS, zipmap)
    check_alone_as_together(load(data, model_file("onnx"), []), frame, **wanted)
    for model in (
        MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=5, random_state=0),
        LinearRegression(),
        RandomForestRegressor(60, random_state=0),
    ):
        numbers = frame[["distance", "day"]]
        data = bytes_of(model.fit(numbers.to_numpy(), TARGET))
        check_alone_as_together(load(data, model_file("onnx"), []), numbers, inputs=OF_NUMBERS)


def test_float64_is_rounded_where_the_model_takes_float32(empty: Place):
    frame = pd.DataFrame({"id": [1, 2], "x": [0.1, 16777217.0]})
    model = LinearRegression().fit(frame[["x"]].to_numpy(), [0.1, 16777217.0])
    data = to_onnx(model, frame[["x"]].to_numpy(np.float32)).SerializeToString()
    manifest = publish(empty, data, "v1.onnx", {"x": {"type": "float64"}}, frame=frame)
    rounded = np.array([[0.1], [16777216.0]], np.float32)
    assert same_bits(column(manifest), runtime(data, {"X": rounded})[0].ravel())
    data = to_onnx(model, frame[["x"]].to_numpy()).SerializeToString()
    exact = publish(empty, data, "v1.onnx", {"x": {"type": "float64"}}, frame=frame)
    assert stored_type(exact) == "double"


def identity(kind: int, shape: list[Any], inputs: tuple[str, ...] = ("x",)) -> bytes:
    """A model that returns its first input."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    returned = helper.make_tensor_value_info("y", kind, shape)
    graph = helper.make_graph(
        [helper.make_node("Identity", [inputs[0]], ["y"])], "g", given, [returned]
    )
    opset = [helper.make_opsetid("", 18)]
    found: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return found


def test_a_model_for_a_fixed_number_of_rows_is_refused():
    with pytest.raises(ModelError, match="its input 'x' is for 1 rows at a time"):
        load(identity(TensorProto.FLOAT, [1, 2]), model_file("onnx"), [])


@pytest.mark.parametrize(
    ("kind", "shape", "inputs", "why"),
    [
        (TensorProto.FLOAT16, ["n", 1], ("x",), r"'x' is a tensor\(float16\)"),
        (TensorProto.FLOAT, ["n", 3, 2], ("x",), r"has the shape \['n', 3, 2\]"),
        (TensorProto.FLOAT, ["n"], ("x",), r"has the shape \['n'\]"),
        (TensorProto.FLOAT, ["n", 2], ("x", "z"), r"\[None, 1\] of one for each column"),
    ],
)
def test_inputs_that_are_not_rows_of_columns_are_refused(
    kind: int, shape: list[Any], inputs: tuple[str, ...], why: str
):
    with pytest.raises(ModelError, match=why):
        load(identity(kind, shape, inputs), model_file("onnx"), [])


def test_a_null_has_no_place_among_texts_and_integers():
    of_texts = load(identity(TensorProto.STRING, ["n", 1]), model_file("onnx"), [])
    frame = pd.DataFrame({"zone": pd.Series(["a", np.nan], dtype=object)})
    assert of_texts.predict(frame[:1]).tolist() == [["a"]]
    with pytest.raises(ScorerError, match="'zone' has a null"):
        of_texts.predict(frame)
    of_integers = load(identity(TensorProto.INT64, ["n", 1]), model_file("onnx"), [])
    assert of_integers.predict(pd.DataFrame({"day": [3.0]})).tolist() == [[3]]
    with pytest.raises(ScorerError, match="'day' has a null"):
        of_integers.predict(pd.DataFrame({"day": [3.0, np.nan]}))
    for value in (3.5, 1e300, np.inf):
        with pytest.raises(ScorerError, match=r"'day' has .*, and .* takes a tensor"):
            of_integers.predict(pd.DataFrame({"day": [3.0, value]}))
    with pytest.raises(ScorerError, match="'day' is not of text"):
        of_texts.predict(pd.DataFrame({"day": [3.0]}))
    with pytest.raises(ScorerError, match="'zone' is not of numbers"):
        of_integers.predict(frame[:1])


def test_another_number_of_columns_is_refused():
    model = load(identity(TensorProto.FLOAT, ["n", 3]), model_file("onnx"), [])
    with pytest.raises(ModelError, match=r"was trained with 3 columns, .* inputs are 2"):
        model.predict(NUMBERS)


def test_booleans():
    model = load(identity(TensorProto.BOOL, ["n", 1]), model_file("onnx"), [])
    assert model.predict(pd.DataFrame({"flag": [True, False]})).tolist() == [[True], [False]]


def externally(data: bytes, in_attribute: bool) -> bytes:
    """The same model with a tensor that lies in another file."""
    model = onnx.load_from_string(data)
    tensor = numpy_helper.from_array(np.ones((1, 2), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    if in_attribute:
        node = helper.make_node("Constant", [], ["w"], value=tensor)
        inner = helper.make_graph([node], "inner", [], [])
        branches = helper.make_node("If", ["c"], [], then_branch=inner, else_branch=inner)
        model.graph.node.append(branches)
    else:
        model.graph.initializer.append(tensor)
    found: bytes = model.SerializeToString()
    return found


@pytest.mark.parametrize("in_attribute", [True, False])
def test_tensors_in_other_files_are_refused(in_attribute: bool):
    data = externally(identity(TensorProto.FLOAT, ["n", 2]), in_attribute)
    with pytest.raises(ModelError, match="has tensors that lie in another file"):
        load(data, model_file("onnx"), [])


def test_operators_of_others_are_refused():
    model = onnx.load_from_string(identity(TensorProto.FLOAT, ["n", 2]))
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(ModelError, match="is not an ONNX model that can be loaded here"):
        load(model.SerializeToString(), model_file("onnx"), [])


def test_a_classifier_that_does_not_say_its_labels():
    model = onnx.load_from_string(
        bytes_of(with_columns(LogisticRegression(), CLASS), COLUMNS, False)
    )
    for node in model.graph.node:
        for attribute in [a for a in node.attribute if a.name.startswith("classlabels")]:
            attribute.name = "x" + attribute.name
    from scoring.models import protobuf

    data = model.SerializeToString()
    assert protobuf.class_labels(data, model.graph.output[0].name) is None


def test_a_damaged_file_is_refused_in_one_line():
    model = LinearRegression().fit(X[["day"]].to_numpy(), TARGET)
    whole = bytes_of(model, [("X", FloatTensorType([None, 1]))])
    for data in (whole[: len(whole) // 2], whole[:-1], b"", b"\x08\x09", whole + b"\x3a\x7f"):
        with pytest.raises(ModelError, match="is not an ONNX model that can be loaded") as found:
            load(data, model_file("onnx"), [])
        assert "\n" not in str(found.value)
