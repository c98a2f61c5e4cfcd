"""The output section of a job file: the published columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scoring.job.inputs import ColumnType
from scoring.job.section import Section


class OutputConfig(Section):
    """The published columns besides the row ids, ``model_version`` and ``partition``."""

    prediction: Annotated[
        str,
        Field(
            description="The column with the result of `predict`. Rows with a null or an infinite "
            "number there, or in a probability, are quarantined."
        ),
    ] = "prediction"
    probabilities: Annotated[
        dict[str, str | int | bool],
        Field(
            description="For classifiers: columns with the probability of a class, from "
            "`predict_proba`, by column name. Requires a `model`."
        ),
    ] = {}
    keep: Annotated[
        list[str], Field(description="Source columns to publish besides the row ids.")
    ] = []
    keep_left_out: Annotated[
        bool,
        Field(
            description="Store the rows that are left out, with row id and reason, beside the "
            "quarantined ones. They are only counted by default."
        ),
    ] = False
    types: Annotated[
        dict[str, ColumnType],
        Field(
            description="Published types by column name, instead of those of the first partition. "
            "Values are never changed to fit: 0.5 does not become an `int64`."
        ),
    ] = {}
