"""How wrong predictions were: figures over pairs of a prediction and the true value.

The pairs are the table ``pairs`` of a DuckDB connection, which keeps on disk what does not fit into
memory: ``prediction``, ``actual``, both without nulls, and ``p0``, ``p1``, …, the probabilities that
were published. The figures are those of scikit-learn's functions of the same names
(``sklearn.metrics``), which need all pairs in memory. A figure that the pairs do not define is None:
R² where all true values are equal, AUC where only one class occurs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Label = str | int | float | bool

CALIBRATION_BINS = 10
_SMALLEST = sys.float_info.epsilon
"""Probabilities are taken to be that far from 0 and 1 at least, as scikit-learn's log loss does."""


class _Figures(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RegressionFigures(_Figures):
    """``bias`` is the mean of prediction minus truth: above 0, predictions are too high."""

    rmse: float | None
    mae: float | None
    bias: float | None
    r2: float | None


class CalibrationBin(_Figures):
    """The pairs with a probability from ``at_least`` to below ``below`` (the last bin: up to 1).

    ``predicted`` is their mean probability, ``actual`` the share of them that are of the class.
    """

    at_least: float
    below: float
    rows: int
    predicted: float
    actual: float


class ClassFigures(_Figures):
    """One class against all others; ``column`` has its probability, ``rows`` are of the class."""

    column: str
    label: Label
    rows: int
    auc: float | None
    log_loss: float | None
    brier: float | None
    calibration: list[CalibrationBin] = []


class ClassificationFigures(_Figures):
    """``log_loss`` is over all classes: None unless each class that occurs has a probability."""

    accuracy: float | None
    log_loss: float | None = None
    classes: list[ClassFigures] = []


def regression(connection: DuckDBPyConnection) -> RegressionFigures:
    """Return the figures of numbers."""
    found = connection.execute(
        "SELECT sqrt(avg((prediction - actual) ** 2)), avg(abs(prediction - actual)), "
        "avg(prediction - actual), 1 - sum((prediction - actual) ** 2) / "
        "nullif(sum((actual - (SELECT avg(actual) FROM pairs)) ** 2), 0) FROM pairs"
    ).fetchone()
    assert found is not None
    rmse, mae, bias, r2 = map(_finite, found)
    return RegressionFigures(rmse=rmse, mae=mae, bias=bias, r2=r2)


def classification(
    connection: DuckDBPyConnection, probabilities: Mapping[str, Label]
) -> ClassificationFigures:
    """Return the figures of classes; ``probabilities`` has the label of each column p0, p1, …"""
    found = connection.execute("SELECT avg(CAST(prediction = actual AS DOUBLE)) FROM pairs")
    (accuracy,) = found.fetchone() or (None,)
    return ClassificationFigures(
        accuracy=accuracy,
        log_loss=_log_loss(connection, list(probabilities.values())),
        classes=[
            _of_class(connection, f"p{number}", column, label)
            for number, (column, label) in enumerate(probabilities.items())
        ],
    )


def _log_loss(connection: DuckDBPyConnection, labels: list[Label]) -> float | None:
    """Return the mean of -log(probability of the true class), the probabilities scaled to 1 a row."""
    if len(labels) < 2:
        return None
    of_class = " ".join(f"WHEN actual = ? THEN p{number}" for number in range(len(labels)))
    total = " + ".join(f"p{number}" for number in range(len(labels)))
    found = connection.execute(
        f"SELECT avg(-ln(greatest(least(p / total, 1 - {_SMALLEST}), {_SMALLEST}))), "
        f"count(*) - count(p) FROM (SELECT CASE {of_class} END AS p, {total} AS total FROM pairs)",
        labels,
    ).fetchone()
    assert found is not None
    return None if found[1] else _finite(found[0])


def _of_class(
    connection: DuckDBPyConnection, values: str, column: str, label: Label
) -> ClassFigures:
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW of_class AS SELECT {values} AS p, "
        f"CAST(actual = {_literal(label)} AS INTEGER) AS is_class FROM pairs"
    )
    found = connection.execute(
        "SELECT sum(is_class), avg((p - is_class) ** 2), avg(-ln(greatest(least("
        f"CASE is_class WHEN 1 THEN p ELSE 1 - p END, 1 - {_SMALLEST}), {_SMALLEST}))) FROM of_class"
    ).fetchone()
    assert found is not None
    rows, brier, log_loss = found
    return ClassFigures(
        column=column,
        label=label,
        rows=int(rows or 0),
        auc=_auc(connection),
        log_loss=_finite(log_loss),
        brier=_finite(brier),
        calibration=_calibration(connection),
    )


def _auc(connection: DuckDBPyConnection) -> float | None:
    """Return the area under the ROC curve: the share of pairs of rows, one of the class and one not,
    in which that of the class has the higher probability; equal ones count half (Hanley and McNeil,
    Radiology 143, 1982).
    """
    found = connection.execute(
        "SELECT sum(positives * (below + others / 2)) "
        "/ nullif(sum(positives) * CAST(sum(others) AS DOUBLE), 0) FROM ("
        "  SELECT positives, others, "
        "  sum(others) OVER (ORDER BY p ROWS UNBOUNDED PRECEDING) - others AS below FROM ("
        "    SELECT p, CAST(sum(is_class) AS DOUBLE) AS positives, "
        "    CAST(count(*) - sum(is_class) AS DOUBLE) AS others FROM of_class GROUP BY p))"
    ).fetchone()
    return _finite(found[0]) if found else None


def _calibration(connection: DuckDBPyConnection) -> list[CalibrationBin]:
    bins = connection.execute(
        f"SELECT least(floor(p * {CALIBRATION_BINS}), {CALIBRATION_BINS - 1}) AS bin, count(*), "
        "avg(p), avg(is_class) FROM of_class GROUP BY bin ORDER BY bin"
    ).fetchall()
    return [
        CalibrationBin(
            at_least=number / CALIBRATION_BINS,
            below=(number + 1) / CALIBRATION_BINS,
            rows=rows,
            predicted=predicted,
            actual=actual,
        )
        for number, rows, predicted, actual in bins
    ]


def _literal(label: Label) -> str:
    """Return ``label`` in SQL: a view takes no parameters."""
    return "'" + label.replace("'", "''") + "'" if isinstance(label, str) else repr(label)


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
