"""ONNX files, which onnxruntime runs: a tensor of all columns, or one for each column."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scoring.errors import ModelError, ScorerError, needs_extra
from scoring.models import native, protobuf
from scoring.models.base import Model, ModelFile

if TYPE_CHECKING:
    import pandas as pd

DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
"""The NumPy type of each type of input that is supported."""

LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)")
MAPS = "seq(map("


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``data``; see ``scoring.models.base.Loader``.

    Raises ModelError for tensors in other files, which the job's digest would not cover.
    """
    with needs_extra("onnx", "ONNX files"):
        import onnxruntime
    try:
        if not protobuf.is_onnx(data):
            raise native.unreadable(file, "its bytes are not a whole message of an ONNX model")
        if protobuf.has_external_data(data):
            raise ModelError(
                f"{file.uri} has tensors that lie in another file, which would not be verified; it "
                "was not loaded. Save it as one file: onnx.save(model, path), with "
                "save_as_external_data=False"
            )
    except ValueError as error:
        raise native.unreadable(file, error) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a process for each core
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common, and no stable module
        raise native.unreadable(file, error) from error
    return OnnxModel(session, data, file, str(onnxruntime.__version__))


class OnnxModel:
    """A session of onnxruntime; a ``Model``.

    Predictions are the first output. A second one has the probabilities of a classifier: a tensor, or
    a list of dicts (ZipMap).  ``inputs`` are the model's, where it has one for each column; the
    columns of the one tensor of others have no names, and are those of the job in its order.
    """

    def __init__(self, session: Any, data: bytes, file: ModelFile, version: str) -> None:
        self.native = session
        self._file = file
        self._given = session.get_inputs()
        self._returned = session.get_outputs()
        self.runtime_versions = {"onnxruntime": version}
        name, release = protobuf.producer(data)
        if name and release:
            self.runtime_versions[f"{name} (saved by)"] = release
        self._check_inputs()
        self._labels = None
        if self._is_classifier:
            self._labels = protobuf.class_labels(data, self._returned[0].name)

    def _check_inputs(self) -> None:
        """Raise ModelError for inputs of another type or shape than rows of columns."""
        single = len(self._given) == 1
        for given in self._given:
            if given.type not in DTYPES:
                raise self._cannot(
                    f"its input {given.name!r} is a {given.type}; those of {', '.join(DTYPES)} are "
                    "supported"
                )
            if given.shape and isinstance(given.shape[0], int) and given.shape[0] != 0:
                raise self._cannot(
                    f"its input {given.name!r} is for {given.shape[0]} rows at a time, no more and "
                    "no fewer. Export it with a dynamic first dimension (initial types with None, "
                    "dynamic_axes)"
                )
            wide = len(given.shape) == 2 and (single or given.shape[1] == 1)
            if not wide and (single or len(given.shape) != 1):
                raise self._cannot(
                    f"its input {given.name!r} has the shape {given.shape}; expected [None, columns] "
                    "of a single one, [None, 1] of one for each column"
                )

    def _cannot(self, why: str) -> ModelError:
        return ModelError(f"{self._file.uri} cannot score rows: {why}")

    @property
    def _is_classifier(self) -> bool:
        return len(self._returned) > 1 and self._returned[0].type in LABELS

    @property
    def inputs(self) -> list[str] | None:
        return [given.name for given in self._given] if len(self._given) > 1 else None

    @property
    def width(self) -> int | None:
        """How many columns it was trained with; None where it does not say."""
        if len(self._given) > 1:
            return len(self._given)
        width = self._given[0].shape[1]
        return width if isinstance(width, int) else None

    @cached_property
    def classes(self) -> list[Any] | None:
        if not self._is_classifier:
            return None
        if self._labels is None:
            raise self._cannot(
                "it is a classifier that does not say the labels of its classes. Export it with "
                "ZipMap (skl2onnx's default), or without output.probabilities in the job file and "
                "with a scorer (scorer: in the job file) that returns them"
            )
        return [*self._labels]

    def predict(self, frame: pd.DataFrame) -> Any:
        return self._run(frame, 0)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        found = self._run(frame, 1)
        if not self._returned[1].type.startswith(MAPS):
            return found
        return np.array([[row[label] for label in self.classes or []] for row in found], np.float32)

    def _run(self, frame: pd.DataFrame, output: int) -> Any:
        return self.native.run([self._returned[output].name], self._feeds(frame))[0]

    def _feeds(self, frame: pd.DataFrame) -> dict[str, Any]:
        if len(self._given) > 1:
            frame = native.frame_of(frame, self._file, None)  # its columns are found by their names
            return {
                given.name: self._values(frame[given.name], given).reshape(
                    (-1, 1) if len(given.shape) == 2 else (-1,)
                )
                for given in self._given
            }
        frame, given = native.frame_of(frame, self._file, self.width), self._given[0]
        columns = [self._values(frame[name], given) for name in frame.columns]
        return {given.name: np.column_stack(columns)}

    def _values(self, column: pd.Series, given: Any) -> Any:
        """Return ``column`` in the type of an input; ScorerError where that would lose a value.

        Numbers are rounded to float32 where the model was exported so, as its own library does.
        """
        dtype = DTYPES[given.type]
        column = native.numbers(column)
        if dtype == np.object_:
            return self._texts(column)
        if column.dtype == object or column.dtype.kind not in "biuf":
            raise ScorerError(
                f"predicting failed: the column {column.name!r} is not of numbers, and "
                f"{self._file.uri} takes a {given.type} there"
            )
        values = column.to_numpy()
        if np.issubdtype(dtype, np.floating):
            return values.astype(dtype)
        if np.isnan(values).any() if values.dtype.kind == "f" else False:
            raise native.null_category(
                str(column.name),
                f"and {self._file.uri} takes a {given.type}, which has none, there",
            )
        with np.errstate(invalid="ignore"):
            cast = values.astype(dtype)
        if not (cast == values).all():
            raise ScorerError(
                f"predicting failed: the column {column.name!r} has "
                f"{values[cast != values][0]!s}, and {self._file.uri} takes a {given.type} there"
            )
        return cast

    def _texts(self, column: pd.Series) -> Any:
        if column.isna().any():
            raise native.null_category(
                str(column.name), f"and {self._file.uri} takes texts, of which ONNX knows no null"
            )
        if not all(isinstance(value, str) for value in column):
            raise ScorerError(
                f"predicting failed: the column {column.name!r} is not of text, and "
                f"{self._file.uri} takes a tensor(string) there"
            )
        return column.to_numpy(dtype=object)
