"""What to do about quarantined rows: the advice that fits their reason."""

from __future__ import annotations

from scoring.contract.rules import Rule
from scoring.job.schema import Job

_ADVICE = {
    "null_row_id": "every row needs an id: fix the source, or name other columns in row_id",
    "duplicate_row_id": (
        "two rows share an id: name a further column in row_id that tells them apart, or remove "
        "the repeated rows from the source"
    ),
    "outside_partition": (
        "the source has rows of other partitions: check source.uri, source.date_column and timezone"
    ),
    "wrong_type": "fix the source, or the type in inputs.{column}.type",
    "missing_value": (
        "fix the source; if the model was trained with nulls in this column, set "
        "inputs.{column}.nullable: true"
    ),
    "infinite": "fix the source: a division by zero makes infinite values",
    "below_min": "fix the source, or correct inputs.{column}.min",
    "above_max": "fix the source, or correct inputs.{column}.max",
    "not_allowed": "fix the source; if the model knows these values, add them to inputs.{column}.allowed",
    "null_prediction": "the model or scorer returns null for these rows: look at their inputs",
    "infinite_prediction": (
        "the model or scorer returns an infinite value for these rows: look at their inputs"
    ),
}

TOLERATE = "If these rows are meant to be quarantined, set checks.max_quarantined_fraction to what is normal"
"""The last resort, after the advice for each reason: the rows are not scored then."""


def advice_for(rule: Rule, job: Job) -> str:
    """Say what to do about rows that are quarantined by ``rule``."""
    if rule.reason == "wrong_type" and rule.column not in job.inputs:
        return f"fix the values of {rule.column} in the source"
    return _ADVICE[rule.reason].format(column=rule.column)
