"""What a job does about drift: warn, or hold a partition until somebody accepts it; how bad it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scoring.destinations.manifest import Manifest
from scoring.job.checks import DriftConfig, HoldConfig
from scoring.monitoring.drift import ColumnDrift, worst_first


@dataclass(frozen=True)
class DriftSummary:
    """How far a partition has moved from its main ``reference``: the column that has moved most, its
    PSI and the one that is worth a warning, and how many columns have moved by that much.
    """

    reference: str
    worst_column: str
    worst_psi: float
    psi_warns: float | None
    columns_moved: int


def drift_summary(manifest: Manifest) -> DriftSummary | None:
    """Return what a manifest says of drift; None where nothing could be compared."""
    found = main_reference([ColumnDrift.model_validate(one) for one in manifest.drift])
    compared = [(one, one.psi) for one in worst_first(found) if one.psi is not None]
    if not compared:
        return None
    worst, psi = compared[0]
    moved = sum(one.has_moved for one in found)
    return DriftSummary(worst.reference, worst.column, psi, worst.psi_warns, moved)


def main_reference(found: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """Return the drift from the first reference, by which a partition is judged."""
    return [one for one in found if one.reference == found[0].reference]


def drift_warnings(found: Sequence[ColumnDrift], config: DriftConfig | None) -> list[str]:
    """Return a sentence for each column that has moved from the main reference."""
    if config is None or config.warn == "off":
        return []
    moved = [one for one in worst_first(main_reference(found)) if one.has_moved]
    return [f"drift: {one.role} {one}" for one in moved]


def reasons_to_hold(found: Sequence[ColumnDrift], hold: HoldConfig | None) -> list[str]:
    """Return a sentence for each column that has moved beyond the limits of the job.

    A limit below what chance alone gives to so few rows does not count: see ``drift.threshold``.
    """
    if hold is None:
        return []
    reasons = []
    for one in worst_first(main_reference(found)):
        if one.psi is None or (hold.columns and one.column not in hold.columns):
            continue
        beyond = []
        if hold.PSI is not None and one.psi >= max(hold.PSI, one.psi_warns or 0.0):
            beyond.append(f"PSI {one.psi:.3f}, from {hold.PSI:g} on")
        if hold.KS is not None and one.has_moved and one.ks is not None and one.ks >= hold.KS:
            beyond.append(f"KS {one.ks:.3f}, from {hold.KS:g} on")
        if beyond:
            reasons.append(f"{one.column}, compared with {one.reference}: {'; '.join(beyond)}")
    return reasons
