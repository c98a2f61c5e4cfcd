"""The verdict of a gate, as it stands in the manifest."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Verdict(BaseModel):
    """What a gate found: its figure, compared with a limit of the job's ``checks``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    gate: str
    figure: float
    limit: float
    passed: bool
