"""A month with nulls and categories for models in their libraries' own files, and how it is scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from scoring.destinations.manifest import Manifest
from scoring.engine import score_table
from scoring.job.schema import Job
from scoring.models.base import Model, ModelFile
from tests.scoring.factories import JOB, MONTH, Place, merged, predictions, run_steps

ROWS = 300
INPUTS: dict[str, Any] = {
    "distance": {"type": "float64", "nullable": True},
    "zone": {"type": "string", "nullable": True},
    "day": {"type": "int64"},
}
RNG = np.random.default_rng(4)


def month() -> pd.DataFrame:
    """Rows with nulls in ``distance`` and ``zone``, of which a category ``new`` is rare."""
    frame = pd.DataFrame(
        {
            "id": range(ROWS),
            "distance": RNG.gamma(2.0, 3.0, ROWS),
            "zone": pd.Series(RNG.choice(["mitte", "nord", "süd"], ROWS), dtype=object),
            "day": RNG.integers(0, 7, ROWS),
        }
    )
    frame.loc[::9, "distance"] = np.nan
    frame.loc[4::13, "zone"] = None
    return frame


FRAME = month()
X = FRAME.drop(columns="id")
TARGET = (
    X["distance"].fillna(1.5) * 2 + X["zone"].map({"mitte": 1, "nord": 4}).fillna(9)
).to_numpy()
CLASS = (np.median(TARGET) < TARGET).astype(int)
THREE = np.digitize(TARGET, np.quantile(TARGET, [0.3, 0.7]))


def publish(
    place: Place,
    data: bytes,
    name: str,
    inputs: dict[str, Any] | None = None,
    frame: pd.DataFrame = FRAME,
    probabilities: dict[str, Any] | None = None,
    **version: Any,
) -> Manifest:
    """Score ``frame`` as the month of a job with the model ``data``, without a digest of it."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place.source(table)
    path = place.data / "models" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    one = {"version": "v1", "uri": f"{{models}}/{name}", "in_force_from": MONTH, **version}
    output = {"prediction": "y", "probabilities": probabilities or {}}
    job = place.job(inputs=inputs or INPUTS, output=output, model={"versions": [one]})
    return run_steps(place.run(job))


def as_pandas_reads_it(place: Place) -> pd.DataFrame:
    """The inputs of the month, read by pandas from the source."""
    return pd.read_parquet(place.data / "source" / f"{MONTH}.parquet").drop(columns="id")


def column(manifest: Manifest, name: str = "y") -> np.ndarray[Any, Any]:
    values = predictions(manifest).column(name).combine_chunks()
    return np.asarray(values.to_pandas())


def stored_type(manifest: Manifest, name: str = "y") -> str:
    return str(pq.ParquetFile(manifest.output.uri).schema_arrow.field(name).type)


def same_bits(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def model_file(kind: str, name: str = "v1.bin") -> ModelFile:
    return ModelFile(name="sample", version="v1", uri=name, sha256="0" * 64, format=kind)


def bits_by_row(
    model: Model,
    frame: pd.DataFrame,
    inputs: dict[str, Any] | None = None,
    probabilities: dict[str, Any] | None = None,
    threads: int = 1,
) -> list[Any]:
    """What the engine publishes of each row of ``frame``, which has no ``id``."""
    output = {"prediction": "y", "probabilities": probabilities or {}}
    job = Job.model_validate(merged(JOB, {"output": output}) | {"inputs": inputs or INPUTS})
    columns = {name: pa.array(frame[name], from_pandas=True) for name in frame}
    table = pa.table({"id": pa.array(range(len(frame))), **columns})
    with threadpool_limits({"openmp": threads, "blas": 1}):
        found = score_table(table, model, job).table
    names = [name for name in found.column_names if name != "id"]
    return list(zip(*(found.column(name).to_pylist() for name in names), strict=True))


def check_alone_as_together(model: Model, frame: pd.DataFrame, **options: Any) -> None:
    """Assert that rows have the same bits alone, in pairs and with two threads as all together."""
    together = bits_by_row(model, frame, **options)
    assert len(together) == len(frame)
    assert bits_by_row(model, frame, threads=2, **options) == together
    for size in (1, 2, 7):
        for start in range(0, 10 * size, size):
            part = frame.iloc[start : start + size].reset_index(drop=True)
            assert bits_by_row(model, part, **options) == together[start : start + size]
