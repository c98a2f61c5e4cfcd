"""The checks section of a job file: conditions of publication."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from scoring.job.section import Section


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
    on_warning: Annotated[
        Literal["report", "fail"],
        Field(
            description="`report`: warnings are shown in the log, the manifest and `scoring show`. "
            "`fail`: they also prevent publication."
        ),
    ] = "report"
