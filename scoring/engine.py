"""The scoring engine: an Arrow table in, predictions and rejected rows out.

Pure: no storage, no state, no clock.  Batch, verification and whatever else scores rows call
``score_table``, so that a row gets the same prediction from all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scoring.arrow.columns import Mask, combined_column, null_mask
from scoring.arrow.frame import to_frame
from scoring.arrow.narrow import ARROW_TYPES
from scoring.arrow.text import dictionary_encoded
from scoring.arrow.unify import TypeConflictError, exact_cast
from scoring.contract.rules import Rule
from scoring.errors import ModelError, ScorerError, ScoringError, raise_if_resource_error
from scoring.job.columns import LEFT_OUT, same_but_for_case, why_taken
from scoring.job.expressions import LEFT_OUT_REASON, REASON_CODES
from scoring.job.inputs import ColumnConfig, ColumnType
from scoring.job.schema import Job
from scoring.models.base import Model

BLOCK_ROWS = 16
"""The model is given a multiple of so many rows.

BLAS multiplies a matrix by blocks of rows, and what is left over by another kernel, which adds in
another order: a single row, or the last ones of a batch, would get other last bits of a linear or
neural model than the same rows within a large batch.  Blocks are of 4 rows in OpenBLAS.
"""


@dataclass(frozen=True)
class Predictions:
    """What became of the rows of a table.

    ``table`` has the rows that got a prediction, in their order: the row ids, the outputs, the kept
    columns. ``rejected`` has one row for each one that got none, rule by rule: ``position`` (from
    0, in the table that was scored), ``reason`` and ``column``. ``left_out`` has ``position`` and
    ``reason`` of the rows that a scorer leaves out.
    """

    table: pa.Table
    rejected: pa.Table
    left_out: pa.Table


def score_table(table: pa.Table, model: Model, job: Job) -> Predictions:
    """Score ``table``: the row ids, inputs and kept columns of ``job``, in the contract's types.

    The model sees the inputs as a DataFrame with a RangeIndex, in whole blocks of ``BLOCK_ROWS``: its
    last row is repeated. What the model returns is taken by position, after its length and, for
    pandas, its index are checked. A row with an output that is null or infinite is rejected
    (``null_prediction``, ``infinite_prediction``). A scorer leaves a row out by a text in the column
    ``left_out`` of what it returns: the reason.

    Raises ModelError where the model does not fit the job, and ScorerError where predicting fails
    or does not give one value for each row.
    """
    order, positions = _input_order(model, job), _class_positions(model, job)
    if not table.num_rows:
        return Predictions(no_predictions(table.schema, model, job), _rejected([]), _left_out(None))
    padded = _in_whole_blocks(table.select(order))
    features = _features(model, padded, {name: job.inputs[name] for name in order})
    outputs = _outputs(model, features, positions, job)
    outputs = {name: values.slice(0, table.num_rows) for name, values in outputs.items()}
    left_out = _left_out(outputs.pop(LEFT_OUT, None))
    without = np.zeros(table.num_rows, dtype=bool)
    without[left_out.column("position").to_numpy()] = True
    scored = _with_source_columns(table, outputs, job)
    broken = _broken_rules(scored, job, but=without)
    for _, rows in broken:
        without[rows] = True
    if without.any():
        scored = scored.filter(pa.array(~without))
    return Predictions(scored, _rejected(broken), left_out)


def check_model(model: Model, job: Job) -> None:
    """Raise ModelError for what is wrong with ``model`` before any row is seen."""
    _input_order(model, job)
    _class_positions(model, job)


def no_predictions(schema: pa.Schema, model: Model, job: Job) -> pa.Table:
    """Return a ``Predictions.table`` without rows, for a source of ``schema``.

    Predictions have the type of the model's class labels; they are numbers where it has none.
    """
    fields = {name: schema.field(name).type for name in job.leading_columns}
    fields[job.output.prediction] = pa.float64() if job.scorer else _label_type(model)
    fields |= dict.fromkeys(job.output.probabilities, pa.float64())
    fields |= {name: schema.field(name).type for name in job.output.keep}
    fields |= {n: _published_as(k) for n, k in job.output.types.items() if n in fields}
    return pa.schema(fields).empty_table()


def _label_type(model: Model) -> pa.DataType:
    labels = getattr(model.native, "classes_", None)
    if labels is None and model.classes is not None:
        labels = np.array(model.classes)
    if not isinstance(labels, np.ndarray) or labels.ndim != 1:
        return pa.float64()
    return _arrow("prediction", labels).type


def _input_order(model: Model, job: Job) -> list[str]:
    order = list(job.inputs) if model.inputs is None else model.inputs
    missing = [name for name in order if name not in job.inputs]
    if missing:
        raise ModelError(
            f"the model of {job.name} was trained with {', '.join(map(repr, missing))}, which the "
            f"job's inputs do not list (they are {', '.join(job.inputs)})"
        )
    return order


def _class_positions(model: Model, job: Job) -> dict[str, int]:
    """Return, for each probability column of the job, its column number in predict_proba."""
    if not job.output.probabilities or job.scorer:
        return {}
    classes = model.classes
    if classes is None:
        raise ModelError(
            f"output.probabilities of {job.name} needs predict_proba, and "
            f"{type(model.native).__name__} has no predict_proba"
        )
    for name, label in job.output.probabilities.items():
        if label not in classes:
            raise ModelError(
                f"output.probabilities.{name} of {job.name} is for the class {label!r}, and the "
                f"model knows {', '.join(map(repr, classes))}"
            )
    return {name: classes.index(label) for name, label in job.output.probabilities.items()}


def _in_whole_blocks(table: pa.Table) -> pa.Table:
    """Return ``table``, with its last row repeated up to a multiple of ``BLOCK_ROWS``."""
    rows = table.num_rows
    if not rows % BLOCK_ROWS:
        return table
    filled = np.minimum(np.arange(rows + -rows % BLOCK_ROWS), rows - 1)
    return table.take(pa.array(filled))


def _features(model: Model, table: pa.Table, columns: Mapping[str, ColumnConfig]) -> Any:
    """Return what ``model`` is given: a DataFrame, or what it makes of the table itself."""
    own = getattr(model, "features_of", None)
    return own(table, columns) if own else to_frame(table, columns)


def _outputs(
    model: Model, features: pd.DataFrame, positions: dict[str, int], job: Job
) -> dict[str, pa.Array]:
    """Return the output columns by name, aligned with ``features`` and without those of the source."""
    given = features.index
    try:
        predicted = model.predict(features)
        probabilities = model.predict_proba(features) if positions else None
    except ScoringError:
        raise
    except (Exception, SystemExit) as error:  # sys.exit() would end the run as if all were well
        raise_if_resource_error(error)
        raise ScorerError(
            f"predicting failed with {type(error).__name__}: {error}",
            code_of=error,
        ) from error
    if job.scorer:
        found = _of_scorer(predicted, given, job)
    else:
        found = {job.output.prediction: _only_column(predicted, given, "predict")}
        if positions:
            of_classes = _probabilities(probabilities, given, model.classes or [])
            found |= {name: of_classes[:, at] for name, at in positions.items()}
    return {
        name: _arrow(name, values) for name, values in found.items() if name not in job.kept_columns
    }


def _of_scorer(outputs: Any, given: pd.Index, job: Job) -> dict[str, Any]:
    """Return the columns of what a job's own scorer returned, by name."""
    if not isinstance(outputs, pd.DataFrame):
        raise ScorerError(f"the scorer must return a DataFrame, not {type(outputs).__name__}")
    if not outputs.index.equals(given):
        missing = given.difference(outputs.index)[:3].tolist()
        added = outputs.index.difference(given)[:3].tolist()
        raise ScorerError(
            f"the scorer was given {len(given):,} rows and returned {len(outputs):,} with "
            f"another index (missing: {missing or 'none'}, added: {added or 'none'}; else their "
            "order differs). It must keep the index of df as it is"
        )
    twice = outputs.columns[outputs.columns.duplicated()]
    if len(twice):
        raise ScorerError(f"the scorer returned two columns {twice[0]!r}")
    wanted = (job.output.prediction, *job.output.probabilities)
    absent = [name for name in wanted if name not in outputs.columns]
    if absent:
        raise ScorerError(
            f"the scorer returned no column {', '.join(map(repr, absent))}, which output in "
            f"the job file names; it returned {', '.join(map(str, outputs.columns))}"
        )
    _check_names([str(name) for name in outputs.columns if name != LEFT_OUT], job)
    return {str(name): outputs[name] for name in outputs.columns}


def _check_names(returned: list[str], job: Job) -> None:
    """Raise ScorerError for columns of a scorer that could not be published, or that readers could
    not distinguish.
    """
    published = [*job.kept_columns, *(name for name in returned if name not in job.kept_columns)]
    for name in published:
        if why := why_taken(name, job):
            raise ScorerError(
                f"the scorer returned a column {name!r}, which {why}; leave it out of what run "
                "returns, or give it another name"
            )
    pair = same_but_for_case(published)
    if pair or len(set(returned)) < len(returned):
        one, other = pair or ("1", 1)
        raise ScorerError(
            f"the scorer returned columns that readers could not tell apart: {one!r} and "
            f"{other!r}; leave one of them out of what run returns, or give it another name"
        )


def _only_column(values: Any, given: pd.Index, method: str) -> Any:
    """Return one value for each row, from whatever ``method`` returned."""
    _check_rows(values, given, method)
    if not hasattr(values, "shape"):
        try:
            values = np.asarray(values)
        except ValueError:
            raise ScorerError(f"{method} returned values of different lengths") from None
    shape = tuple(values.shape)
    if len(shape) == 1:
        return values
    if shape[1:] == (1,):
        return _columns(values, given, method)[:, 0]
    raise ScorerError(
        f"{method} returned an array of shape {shape}; expected one value per row. "
        "A scorer (scorer: in the job file) can return several outputs by name"
    )


def _columns(values: Any, given: pd.Index, method: str) -> Any:
    """Return a two-dimensional array of what ``method`` returned, a row for each row."""
    _check_rows(values, given, method)
    array = values.to_numpy() if isinstance(values, pd.DataFrame) else np.asarray(values)
    if array.ndim != 2:
        raise ScorerError(
            f"{method} returned an array of shape {array.shape}; expected one row of values per row"
        )
    return array


def _probabilities(values: Any, given: pd.Index, classes: list[Any]) -> Any:
    """Return a two-dimensional array with a column for each of ``classes``, in their order."""
    if isinstance(values, pd.DataFrame) and not isinstance(values.columns, pd.RangeIndex):
        names = {str(name): position for position, name in enumerate(values.columns)}
        missing = [label for label in classes if str(label) not in names]
        if missing or len(names) != values.shape[1]:
            raise ScorerError(
                f"predict_proba returned columns called {', '.join(map(str, values.columns))}, and "
                f"the classes are {', '.join(map(repr, classes))}"
            )
        values = values.iloc[:, [names[str(label)] for label in classes]]
    array = _columns(values, given, "predict_proba")
    if array.shape[1] != len(classes):
        raise ScorerError(
            f"predict_proba returned {array.shape[1]} columns, and the model knows {len(classes)} "
            "classes"
        )
    return array


def _check_rows(values: Any, given: pd.Index, method: str) -> None:
    """Raise ScorerError unless ``values`` has as many rows as were given, in an order that is
    theirs.
    """
    if not hasattr(values, "__len__") or isinstance(values, str | bytes | dict):
        raise ScorerError(f"{method} returned {type(values).__name__}; expected one value per row")
    if len(values) != len(given):
        raise ScorerError(f"{method} was given {len(given):,} rows and returned {len(values):,}")
    if isinstance(values, pd.Series | pd.DataFrame) and not values.index.equals(given):
        raise ScorerError(
            f"{method} returned a {type(values).__name__} with an index of its own, from "
            f"{values.index[0]} to {values.index[-1]}, so the values cannot be matched to "
            f"rows. It must be the index of the rows passed in, 0 to {len(given) - 1:,}"
        )


def _arrow(name: str, values: Any) -> pa.Array:
    try:
        column = values if isinstance(values, pd.Series) else pd.Series(values)
        return dictionary_encoded(pa.Array.from_pandas(column))
    except (pa.ArrowException, ValueError) as error:
        raise ScorerError(f"the output column {name!r} cannot be stored: {error}") from error


def _with_source_columns(table: pa.Table, outputs: dict[str, pa.Array], job: Job) -> pa.Table:
    """Return row ids, outputs, kept columns: one row for each row of ``table``."""
    columns = {name: combined_column(table, name) for name in job.leading_columns}
    columns |= outputs
    columns |= {name: combined_column(table, name) for name in job.output.keep}
    return pa.table({name: _declared(name, values, job) for name, values in columns.items()})


def _declared(name: str, values: pa.Array, job: Job) -> pa.Array:
    """Return ``values`` in the type that the job's output names for them, if it does."""
    wanted = job.output.types.get(name)
    if wanted is None:
        return values
    try:
        return exact_cast(values, _published_as(wanted))
    except TypeConflictError as error:
        raise ScorerError(
            f"the column {name!r} cannot be {wanted}, as output.types says: {error}"
        ) from None


def _published_as(kind: ColumnType) -> pa.DataType:
    return ARROW_TYPES.get(kind, pa.timestamp("us"))


def _broken_rules(scored: pa.Table, job: Job, but: Mask) -> list[tuple[Rule, np.ndarray[Any, Any]]]:
    """Return each rule for outputs that some rows break, and their positions; a row breaks one at
    most, and those of ``but`` none.
    """
    seen = but.copy()
    found = []
    for rule, broken in _output_rules(scored, job):
        broken = broken & ~seen
        if broken.any():
            found.append((rule, np.flatnonzero(broken)))
            seen |= broken
    return found


def _output_rules(scored: pa.Table, job: Job) -> Iterator[tuple[Rule, Mask]]:
    for name in (job.output.prediction, *job.output.probabilities):
        values = combined_column(scored, name)
        yield Rule("null_prediction", name), null_mask(values)
        if pa.types.is_floating(values.type):
            yield Rule("infinite_prediction", name), np.isinf(values.to_numpy(zero_copy_only=False))


def _left_out(reasons: pa.Array | None) -> pa.Table:
    """Return ``Predictions.left_out`` for a scorer's column of reasons; None for none."""
    at, texts = [], []
    for position, reason in enumerate([] if reasons is None else reasons.to_pylist()):
        if reason is None:
            continue
        if not isinstance(reason, str) or not re.fullmatch(LEFT_OUT_REASON, reason):
            raise ScorerError(
                f"the scorer returned {reason!r} in the column {LEFT_OUT!r}, which is for the reason "
                "why a row is left out: null, or letters, digits and _, beginning with a letter"
            )
        if reason in REASON_CODES:
            raise ScorerError(
                f"the scorer left a row out for the reason {reason}, which is one of quarantined "
                "rows; choose another name"
            )
        at.append(position)
        texts.append(reason)
    return pa.table({"position": pa.array(at, pa.int64()), "reason": pa.array(texts, pa.string())})


def _rejected(broken: list[tuple[Rule, np.ndarray[Any, Any]]]) -> pa.Table:
    positions = [positions for _, positions in broken]
    rules = [rule for rule, rows in broken for _ in rows]
    return pa.table(
        {
            "position": pa.array(np.concatenate([np.empty(0, np.int64), *positions]), pa.int64()),
            "reason": pa.array([rule.reason for rule in rules], pa.string()),
            "column": pa.array([rule.column for rule in rules], pa.string()),
        }
    )
