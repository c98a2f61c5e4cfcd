"""OrdinalEncoder and OneHotEncoder over the codes of dictionary-encoded text.

scikit-learn encodes each distinct text once, and each row gets what became of its text. The encoder's
own ``transform`` does the encoding, so that categories, unknown texts, missing values and infrequent
categories stay its affair; a row costs the look-up of a number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scoring.errors import raise_if_resource_error
from scoring.models.instance import override

log = logging.getLogger(__name__)

ROWS_COMPARED = 2048
"""How many of the first rows are encoded by scikit-learn, too, and have to come out the same."""


def encode_by_codes(native: Any) -> frozenset[str]:
    """Let the encoders at the start of ``native`` take pandas' Categorical columns as codes of texts.

    Returns the inputs that only such encoders see, which may be given as Categorical; others may not.
    """
    encoders, seen_by_others = _first_steps(native)
    for encoder, _ in encoders:
        by_codes = EncodeByCodes(encoder)
        override(encoder, {"transform": lambda _, X, by_codes=by_codes: by_codes(X)})
    return frozenset(name for _, names in encoders for name in names) - {*seen_by_others}


def _first_steps(native: Any) -> tuple[list[tuple[Any, list[str]]], list[str]]:
    """Return each encoder that sees inputs, with their names, and the inputs that something else sees."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    names = [str(name) for name in getattr(native, "feature_names_in_", ())]
    if not isinstance(native, Pipeline) or not names:
        return [], names
    first = native.steps[0][1]
    if _is_encoder(first):
        return [(first, names)], []
    if type(first) is not ColumnTransformer:
        return [], names
    encoders, others = [], []
    for _, transformer, columns in first.transformers_:
        of = _names(columns, names)
        start = transformer.steps[0][1] if type(transformer) is Pipeline else transformer
        if _is_encoder(start):
            encoders.append((start, of))
        elif transformer != "drop":
            others += of
    return encoders, others


def _is_encoder(step: Any) -> bool:
    """Whether ``step`` is one of scikit-learn's own, with what is needed of its fitted state."""
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    if type(step) is OrdinalEncoder:
        return hasattr(step, "categories_")
    return type(step) is OneHotEncoder and hasattr(step, "_n_features_outs")


def _names(columns: Any, names: list[str]) -> list[str]:
    """Return the names of the columns of a step, however they were given when it was fitted."""
    found = np.array(names, dtype=object)
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice) and any(
        isinstance(of, str) for of in (columns.start, columns.stop)
    ):
        begin = 0 if columns.start is None else names.index(columns.start)
        end = len(names) if columns.stop is None else names.index(columns.stop) + 1
        return names[begin:end]
    if not isinstance(columns, slice):
        columns = np.asarray(columns)
        if columns.dtype.kind in "OUT":
            return [str(name) for name in columns]
        columns = np.atleast_1d(columns)
        if not len(columns):
            return []
    return list(found[columns])


class EncodeByCodes:
    """Takes the place of ``encoder.transform``; what is not a frame of coded texts goes to it as before.

    ``why_not`` says why it does so with all of them by now.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.why_not: str | None = None
        self._compared = False

    def __call__(self, X: Any) -> Any:
        if not isinstance(X, pd.DataFrame) or not any(map(_is_coded_text, X.dtypes)):
            return self._as_ever(X)
        if self.why_not is not None or not all(map(_is_coded_text, X.dtypes)):
            return self._as_ever(_with_texts(X))
        try:
            found = self._encoded(X)
        except Exception as error:  # noqa: BLE001 - the encoder's own errors come from what follows
            raise_if_resource_error(error)
            return self._as_ever(_with_texts(X))
        if not self._compared and self._differs(X):
            return self._as_ever(_with_texts(X))
        return found

    def _as_ever(self, X: Any) -> Any:
        return type(self.encoder).transform(self.encoder, X)

    def _differs(self, X: pd.DataFrame) -> bool:
        """Compare some rows of ``X`` with what scikit-learn makes of them."""
        some = X.iloc[:: max(1, len(X) // ROWS_COMPARED)]
        if same_encoding(self._encoded(some), self._as_ever(_with_texts(some))):
            self._compared = True
            return False
        kind = type(self.encoder).__name__
        self.why_not = f"{kind} encodes texts otherwise than their codes"
        log.warning("%s: texts are encoded row by row, more slowly", self.why_not)
        return True

    def _encoded(self, X: pd.DataFrame) -> Any:
        columns = [_Column(X.iloc[:, at].array) for at in range(X.shape[1])]
        rows = max(len(column.distinct) for column in columns)
        distinct = pd.DataFrame(
            {name: column.texts(rows) for name, column in zip(X.columns, columns, strict=True)}
        )
        encoded = self._as_ever(distinct)
        blocks = list(self._blocks(columns, encoded))
        if isinstance(encoded, np.ndarray):
            found = np.empty((len(X), encoded.shape[1]), dtype=encoded.dtype)
            for block, column in blocks:
                found[:, block] = encoded[:, block][column.places][column.codes]
            return found
        if getattr(encoded, "format", None) == "csr":
            return _sparse(encoded, blocks)
        raise TypeError(f"transform returned {type(encoded).__name__}")

    def _blocks(self, columns: list[_Column], encoded: Any) -> Iterator[tuple[slice, _Column]]:
        """Yield each input, and which columns of the result it becomes."""
        widths = getattr(self.encoder, "_n_features_outs", [1] * len(columns))
        begin = 0
        for column, width in zip(columns, widths, strict=True):
            yield slice(begin, begin + width), column
            begin += width
        if begin != encoded.shape[1]:
            raise TypeError(f"transform returned {encoded.shape[1]} columns, not {begin}")


class _Column:
    """A Categorical: the ``distinct`` texts that occur, and where each row's is among them.

    That is at ``places[codes]``; the last place is for missing texts, whose code is -1.
    """

    def __init__(self, values: pd.Categorical) -> None:
        self.codes = values.codes
        texts = np.append(values.categories.to_numpy(dtype=object), np.nan)
        used = np.zeros(len(texts), dtype=bool)
        used[self.codes] = True
        self.distinct = texts[used]
        self.places = np.where(used, np.cumsum(used) - 1, 0)

    def texts(self, rows: int) -> np.ndarray[Any, Any]:
        """Return ``distinct``, with its first one repeated up to ``rows``."""
        more = np.full(rows - len(self.distinct), self.distinct[0], dtype=object)
        return np.concatenate([self.distinct, more])


def _sparse(encoded: Any, blocks: list[tuple[slice, _Column]]) -> Any:
    """Return the rows of ``encoded`` as one matrix; each input has at most one value a row."""
    places, values = [], []
    for block, column in blocks:
        of = encoded[:, block].tocsr()
        place = np.full(of.shape[0], -1, dtype=np.int64)
        value = np.zeros(of.shape[0], dtype=encoded.dtype)
        has_one = np.diff(of.indptr) > 0
        place[has_one], value[has_one] = of.indices + block.start, of.data
        places.append(place[column.places][column.codes])
        values.append(value[column.places][column.codes])
    place, value = np.column_stack(places), np.column_stack(values)
    there = place >= 0
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    kinds = encoded.indices.dtype, encoded.indptr.dtype
    parts = (value[there], place[there].astype(kinds[0]), ends.astype(kinds[1]))
    return type(encoded)(parts, shape=(len(place), encoded.shape[1]))


def same_encoding(one: Any, other: Any) -> bool:
    """Whether two results of ``transform`` are the same, to the bit."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return _same_bits(one, other)
    return (
        type(one) is type(other)
        and one.shape == other.shape
        and all(_same_bits(getattr(one, n), getattr(other, n)) for n in _SPARSE_PARTS)
    )


_SPARSE_PARTS = ("data", "indices", "indptr")


def _same_bits(one: Any, other: Any) -> bool:
    return bool(
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


def _is_coded_text(dtype: Any) -> bool:
    return isinstance(dtype, pd.CategoricalDtype) and (
        pd.api.types.infer_dtype(dtype.categories) in ("string", "empty")
    )


def _with_texts(X: pd.DataFrame) -> pd.DataFrame:
    """Return ``X`` with Python's own strings in place of their codes."""
    kinds: Mapping[Any, Any] = {
        name: object for name, dtype in X.dtypes.items() if _is_coded_text(dtype)
    }
    return X.astype(kinds)
