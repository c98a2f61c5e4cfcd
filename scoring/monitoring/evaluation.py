"""The record of an evaluation: how the predictions of a partition compare with the truth.

It lies beside the manifests, in ``DESTINATION/_evaluations/month=2013-05.json``.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from scoring.destinations.manifest import Manifest
from scoring.errors import PublicationError
from scoring.monitoring.accuracy import ClassificationFigures, RegressionFigures
from scoring.sources.base import SourceRecord


class EvaluatedRows(BaseModel):
    """``published`` = ``with_actual`` + ``without_actual`` + ``ambiguous``.

    Rows without an actual have none yet. Those that are ``ambiguous`` have several that differ, and
    do not count. ``without_prediction`` are actuals of rows that are not published. ``rejected``
    counts rows of the actuals that broke the contract, by reason; they have no true value.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    published: int
    with_actual: int
    without_actual: int
    ambiguous: int
    without_prediction: int
    rejected: dict[str, int] = {}


class Evaluation(BaseModel):
    """How wrong the predictions of a partition were, as far as its true values are known.

    ``predictions_sha256`` is the digest of what was evaluated: the published predictions, or those of
    a ``challenger``.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    job: str
    partition: str
    model_version: str
    challenger: bool = False
    predictions_sha256: str
    actuals: SourceRecord
    rows: EvaluatedRows
    regression: RegressionFigures | None = None
    classification: ClassificationFigures | None = None

    def is_of(self, manifest: Manifest) -> bool:
        """Return whether what ``manifest`` describes is what was evaluated."""
        return self.predictions_sha256 == manifest.output.sha256

    @property
    def warning(self) -> str | None:
        """What somebody should know who reads the figures: None but where no actual was found."""
        if self.rows.with_actual or not self.rows.without_prediction:
            return None
        return (
            f"none of the {self.rows.without_prediction:,} row ids of the actuals "
            f"({self.actuals.uri}) is published; see that actuals.row_id names the same ids"
        )

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures of the whole partition by name, those of a single class as ``auc COLUMN``."""
        found: dict[str, float | None] = {}
        if self.regression is not None:
            found |= self.regression.model_dump()
        if self.classification is not None:
            found["accuracy"] = self.classification.accuracy
            if self.classification.log_loss is not None:
                found["log_loss"] = self.classification.log_loss
            for one in self.classification.classes:
                found[f"auc {one.column}"] = one.auc
                found[f"log_loss {one.column}"] = one.log_loss
        return found


def parse_evaluation(data: bytes, uri: str) -> Evaluation:
    """Return the evaluation in ``data``; PublicationError if it is none."""
    try:
        return Evaluation.model_validate_json(data)
    except ValidationError as error:
        raise PublicationError(
            f"{uri} is not an evaluation ({error.errors()[0]['msg']}); evaluate the partition again"
        ) from None
