"""Further files that a scorer is given beside its model: a vectorizer, an encoder, a lookup table."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from scoring.errors import ModelError, raise_if_resource_error
from scoring.models.base import ModelFile
from scoring.models.content import kind_of
from scoring.registry import MODELS


def _csv(data: bytes) -> Any:
    import pandas as pd

    return pd.read_csv(io.BytesIO(data))


def _parquet(data: bytes) -> Any:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(data))


READERS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda data: data,
    "csv": _csv,
    "json": json.loads,
    "parquet": _parquet,
}
"""What reads a file that is not a model: tables become DataFrames."""


def artifact_kind(data: bytes, uri: str) -> str:
    """Return the kind of an artifact: of a model by its bytes, of a table by its name, else bytes."""
    suffix = PurePosixPath(uri).suffix.removeprefix(".")
    return kind_of(data) or (suffix if suffix in READERS else "bytes")


def load_artifact(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Any:
    """Return the object in ``data``; ModelError, which names ``file.uri``, where it cannot be read."""
    if file.format not in READERS:
        return MODELS.load(file.format)(data, file, trusted_types).native
    try:
        return READERS[file.format](data)
    except Exception as error:
        raise_if_resource_error(error)
        raise ModelError(
            f"{file.uri} cannot be read as {file.format}: {type(error).__name__}: {error}"
        ) from error
