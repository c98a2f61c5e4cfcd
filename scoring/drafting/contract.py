"""The inputs of a drafted contract: which may be null, which values a model takes, what would break."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scoring.arrow.frame import to_frame
from scoring.drafting.model_file import ModelFacts
from scoring.drafting.sample_file import SampledColumn
from scoring.job.inputs import ColumnConfig

MOST_ALLOWED = 200
"""How many values a draft lists as ``allowed``; an encoder of more is only mentioned."""
_ROWS_TRIED = 20


@dataclass(frozen=True)
class DraftInput:
    """An input, and what its comment says."""

    name: str
    config: ColumnConfig
    comment: str


def allowed_values(config: ColumnConfig, values: list[Any]) -> list[Any]:
    """Return the values of an encoder that a contract can list; none where it cannot list all."""
    known = [value for value in values if value is not None and value == value]
    found = [
        int(v) if config.type.startswith("int") and isinstance(v, float) and v.is_integer() else v
        for v in known
    ]
    fits = all(isinstance(v, str | int | float | bool) and config.can_be(v) for v in found)
    return (
        found
        if (fits and config.type in ("string", "boolean")) or (fits and config.is_number)
        else []
    )


def nullable_inputs(
    facts: ModelFacts | None, columns: dict[str, SampledColumn], wanted: Iterable[str]
) -> set[str]:
    """Return the inputs that may be null: those that are, if the model predicts such rows."""
    known = [name for name in wanted if name in columns and columns[name].config is not None]
    with_nulls = {name for name in known if columns[name].is_null.any()}
    if facts is None or not with_nulls:
        return with_nulls
    complete = np.flatnonzero(~np.any([columns[name].is_null for name in known], axis=0))
    if not len(complete) or facts.predicts(_frame(columns, known, complete[:1])) is not True:
        return with_nulls  # nobody can say
    found = set()
    for name in with_nulls:
        rows = np.repeat(complete[:1], _ROWS_TRIED)
        null = np.resize(np.flatnonzero(columns[name].is_null), _ROWS_TRIED)
        frame = _frame(columns, known, rows).assign(**{name: _frame(columns, [name], null)[name]})
        if facts.predicts(frame):
            found.add(name)
    return found


def _frame(
    columns: dict[str, SampledColumn], names: list[str], rows: npt.NDArray[np.int64]
) -> pd.DataFrame:
    table = pa.table({name: columns[name].values.take(pa.array(rows)) for name in names})
    configs = {name: config for name in names if (config := columns[name].config) is not None}
    return to_frame(table, configs)


def quarantined_fraction(inputs: list[DraftInput], columns: dict[str, SampledColumn]) -> float:
    """Return the fraction of the sample's rows that break the drafted contract."""
    broken: npt.NDArray[np.bool_] | None = None
    for one in inputs:
        column = columns.get(one.name)
        if column is None or column.config is None:
            continue
        bad = np.zeros(len(column.values), dtype=bool) if one.config.nullable else column.is_null
        if pa.types.is_floating(column.values.type):
            bad = bad | np.isinf(column.values.to_numpy(zero_copy_only=False))
        if one.config.allowed is not None:
            known = pd.Series(column.values.to_pylist()).isin(one.config.allowed).to_numpy()
            bad = bad | (~known & ~column.is_null)
        broken = bad if broken is None else broken | bad
    return 0.0 if broken is None else float(broken.mean())
