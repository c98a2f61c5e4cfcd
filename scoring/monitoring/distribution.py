"""What a set of rows looks like: the counts of its inputs and outputs.

A training profile is one, stored beside its model. The manifest of every partition has another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from scoring.arrow.columns import combined_column
from scoring.destinations.manifest import Manifest
from scoring.errors import ModelError
from scoring.monitoring.statistics import Counts

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1


class Distribution(BaseModel):
    """Counts by column name, of the inputs as the model gets them, and of what it predicts."""

    model_config = ConfigDict(extra="ignore")

    format_version: int = FORMAT_VERSION
    inputs: dict[str, Counts] = {}
    outputs: dict[str, Counts] = {}

    def add(self, other: Distribution) -> None:
        """Add the counts of other rows."""
        for mine, more in ((self.inputs, other.inputs), (self.outputs, other.outputs)):
            for name, counts in more.items():
                mine.setdefault(name, Counts()).merge(counts)

    def to_json(self) -> str:
        """Return the text of a profile file: the same counts give the same bytes."""
        return self.model_dump_json(indent=1) + "\n"


def training_profile(inputs: pd.DataFrame, predictions: pd.DataFrame | None = None) -> str:
    """Return the text of a training profile, for a file beside the model.

    ``inputs`` are the rows that the model was trained on: a column for each input of the job, in
    any order; ``predictions`` what it predicts of them: a column for each output, under the job's
    name. An index is not part of either.
    """
    tables = [
        pa.Table.from_pandas(frame, preserve_index=False)
        for frame in (inputs, predictions)
        if frame is not None
    ]
    return of_tables(*tables).to_json()


def parse_profile(data: bytes, uri: str) -> Distribution:
    """Return the training profile in ``data``; ModelError, which names ``uri``, if it is none."""
    try:
        found = Distribution.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(f"{uri} is not a training profile: {error.errors()[0]['msg']}") from None
    if found.format_version > FORMAT_VERSION or not (found.inputs or found.outputs):
        raise ModelError(f"{uri} is not a training profile that this release reads")
    return found


def of_tables(inputs: pa.Table, outputs: pa.Table | None = None) -> Distribution:
    """Return the distribution of columns: inputs as they are in training data, and predictions."""
    return Distribution(
        inputs=_counted(inputs), outputs={} if outputs is None else _counted(outputs)
    )


def _counted(table: pa.Table) -> dict[str, Counts]:
    found = {}
    for name in table.column_names:
        found[name] = Counts()
        found[name].add(combined_column(table, name))
    return found


def of_manifest(manifest: Manifest) -> Distribution:
    """Return the distribution of a published partition.

    Columns that an older release counted in other buckets are left out.
    """
    inputs = {
        name: Counts.model_validate(counts)
        for name, counts in manifest.inputs.items()
        if "bits" in counts
    }
    outputs = {
        name: counts
        for name, figures in manifest.statistics.items()
        if (counts := _of_figures(figures)) is not None
    }
    return Distribution(inputs=inputs, outputs=outputs)


def of_manifests(manifests: Iterable[Manifest]) -> Distribution:
    """Return the distribution of all rows of several partitions."""
    found = Distribution()
    for manifest in manifests:
        found.add(of_manifest(manifest))
    return found


def _of_figures(figures: Mapping[str, Any]) -> Counts | None:
    """Return the counts of an output; None for one of an older release, or of nothing."""
    if "classes" in figures:
        return Counts(rows=figures["count"], categories=figures["classes"])
    if "bits" not in figures.get("buckets", {}):
        return None
    buckets = dict(figures["buckets"])
    return Counts.model_validate(
        {"rows": figures["count"], "bits": buckets.pop("bits"), "buckets": buckets}
    )
