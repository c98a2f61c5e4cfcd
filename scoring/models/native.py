"""What the kinds for the libraries' own files have in common: errors, numbers and categories.

These files are data: loading one runs no code of it, so that the job need not pin a digest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scoring.errors import ModelError, ScorerError, raise_if_resource_error
from scoring.models.base import ModelFile
from scoring.models.content import NAMES

if TYPE_CHECKING:
    import pandas as pd

_WHERE = re.compile(r"^\[[\d:]+\] \S+: |^\S+?:\d+: ")
"""Where in its sources a library raised an error: nobody can do anything about that."""


def unreadable(file: ModelFile, why: BaseException | str) -> ModelError:
    """Return the error for a file that the library of its format cannot read."""
    if isinstance(why, BaseException):
        raise_if_resource_error(why)
        lines = [line for line in str(why).splitlines() if line.strip()]
        why = _WHERE.sub("", lines[0]) if lines else type(why).__name__
    return ModelError(
        f"{file.uri} is not {NAMES[file.format]} that can be loaded here: {why}. It may be cut off "
        "or damaged: save the model again"
    )


def frame_of(values: Any, file: ModelFile, width: int | None) -> pd.DataFrame:
    """Return ``values``, which must be a DataFrame with a row for each row to predict.

    It must have as many columns as the model was trained with, ``width`` (None: it does not say): some
    libraries take those that are missing for nulls. Raises ModelError.
    """
    if not hasattr(values, "columns"):
        raise ModelError(
            f"{file.uri} is {NAMES[file.format]}, which is given the columns of a frame; leave "
            "model.input out of the job file"
        )
    frame: pd.DataFrame = values
    inputs = list(frame.columns)
    if width is not None and width != len(inputs):
        raise ModelError(
            f"{file.uri} was trained with {width} columns, whose names it does not say, and the job's "
            f"inputs are {len(inputs)}: {', '.join(inputs)}"
        )
    return frame


def invented(names: Sequence[str], prefix: str) -> bool:
    """Return whether the library itself has numbered the features: ``Column_0``, ``Column_1``…"""
    return list(names) == [f"{prefix}{n}" for n in range(len(names))]


def numbers(column: pd.Series) -> pd.Series:
    """Return a column of booleans that may be null as numbers with NaN; any other as it is."""
    if column.dtype != object or not all(v is True or v is False for v in column.dropna()):
        return column
    return column.astype(float)


def in_categories(column: pd.Series, categories: Sequence[Any]) -> pd.Series:
    """Return ``column`` as one of pandas' categories, which are those of the model in its order.

    A null, and a value that is not among them, have none.
    """
    import pandas as pd

    known = pd.Index(list(categories))
    codes = known.get_indexer(column)
    return pd.Series(pd.Categorical.from_codes(codes, categories=known), index=column.index)


def unknown_category(column: str, value: Any, why: str) -> ScorerError:
    """Return the error for a value of ``column`` for which the library predicts nothing."""
    shown = repr(value.item() if isinstance(value, np.generic) else value)
    shown = shown if len(shown) <= 80 else f"{shown[:79]}…"
    return ScorerError(
        f"predicting failed: the column {column!r} has {shown}, {why}. To quarantine such rows, list "
        f"the values that it may have: inputs.{column}.allowed in the job file"
    )


def null_category(column: str, why: str) -> ScorerError:
    """Return the error for a null in ``column`` for which the library predicts nothing."""
    return ScorerError(
        f"predicting failed: the column {column!r} has a null, {why}. nullable: false under "
        f"inputs.{column} quarantines such rows; source.derive can put a text in its place"
    )


def strings_without_categories(column: str, file: ModelFile, remedy: str) -> ModelError:
    """Return the error for a column of text of which the file has no categories."""
    return ModelError(
        f"the column {column!r} is text, and {file.uri} does not say which categories it has there; "
        f"nothing was scored. {remedy}"
    )


def of_two(of_second: Any) -> Any:
    """Return a column of probabilities for each of two classes, from those of the second."""
    return np.vstack((1.0 - of_second, of_second)).transpose()
