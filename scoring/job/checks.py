"""The checks section of a job file: conditions of publication."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scoring.job.section import Loc, Problem, Section

if TYPE_CHECKING:
    from scoring.job.schema import Job

PSI_WARNS = 0.1
"""The population stability index from which on drift is worth a warning, with many rows: the usual
limit of the field. Less is never drift, so no limit of a job may be below it."""

DriftColumn = Annotated[str, Field(min_length=1)]


class HoldConfig(Section):
    """Drift beyond which a partition is held: staged, and not published."""

    PSI: Annotated[
        float | None,
        Field(
            ge=PSI_WARNS,
            le=100,
            description="Hold from this population stability index on, where it is [beyond "
            "chance](monitoring.md#thresholds).",
        ),
    ] = None
    KS: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="Hold from this statistic of Kolmogorov and Smirnov on, where the PSI of "
            "the column is worth a warning. Numbers only.",
        ),
    ] = None
    columns: Annotated[
        list[DriftColumn],
        Field(description="Inputs and outputs that count; by default, all of them."),
    ] = []


class DriftConfig(Section):
    """What is done about values that have moved from those of the reference."""

    warn: Annotated[
        Literal["default", "off"],
        Field(
            description="`default`: a warning for each column whose PSI is [beyond "
            "chance](monitoring.md#thresholds), 0.1 at least. `off`: the figures are only recorded."
        ),
    ] = "default"
    hold: Annotated[
        HoldConfig | None,
        Field(
            description="[Hold](monitoring.md#held-partitions) a partition that has drifted. By "
            "default none is."
        ),
    ] = None


class ChecksConfig(Section):
    """Conditions that a partition must meet to be published."""

    max_quarantined_fraction: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="The largest fraction of rows that may be quarantined, of those that are "
            "not left out.",
        ),
    ] = 0.0
    max_fraction: Annotated[
        dict[str, Annotated[float, Field(ge=0, le=1)]],
        Field(
            description="The largest fraction of rows by [reason](#reason-codes), of those that are "
            "quarantined or left out."
        ),
    ] = {}
    max_changed_fraction: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="A partition that is scored again is [held](candidates.md#scored-again) "
            "where a larger fraction of its rows differs from what is published: another "
            "prediction, or one in one of the two only.",
        ),
    ] = None
    max_abs_change: Annotated[
        float | None,
        Field(
            ge=0,
            le=1e18,
            allow_inf_nan=False,
            description="The same where a prediction changes by more than this. Predictions that are "
            "numbers only.",
        ),
    ] = None
    min_rows: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000_000_000,
            description="The smallest number of source rows, without those that are left out. "
            "Guards against a truncated source.",
        ),
    ] = 1
    examples: Annotated[
        int,
        Field(
            ge=0,
            le=1_000,
            description="Rows that an error message quotes for each rule, with their ids and "
            "invalid values.",
        ),
    ] = 3
    drift: Annotated[
        DriftConfig | None,
        Field(
            description="Compare each partition with the model's training profile, or with earlier "
            "partitions: [drift](monitoring.md#drift). By default, nothing is compared when a "
            "partition is published."
        ),
    ] = None
    on_warning: Annotated[
        Literal["report", "fail"],
        Field(
            description="`report`: warnings are shown in the log, the manifest and `scoring show`. "
            "`fail`: they also prevent publication."
        ),
    ] = "report"


def problems_of_drift(job: Job) -> Iterator[Problem]:
    """Report what ``checks.drift`` of ``job`` asks for and cannot have."""
    hold = job.checks.drift.hold if job.checks.drift else None
    if hold is None:
        return
    loc: Loc = ("checks", "drift", "hold")
    if hold.PSI is None and hold.KS is None:
        yield loc, "says no limit; write PSI or KS"
    outputs = [job.output.prediction, *job.output.probabilities]
    for name in hold.columns if job.inputs else []:
        if name not in job.inputs and name not in outputs:
            known = ", ".join([*job.inputs, *outputs])
            yield (*loc, "columns"), f"{name!r} is neither an input nor an output ({known})"
