"""Drift: how far the values of a column have moved from those of a reference.

The figures are those that the field uses: the population stability index (PSI), the statistic of
Kolmogorov and Smirnov (KS), the Wasserstein distance in standard deviations of the reference, and
the Jensen-Shannon distance with logarithms to the base 2.

PSI is a sum over groups of rows: numbers in ten of equal size in the reference, and those outside
its range; few distinct values, and categories, each by itself, those that are rare together; nulls.
Without any drift, PSI is about (1/n + 1/m) times a chi-squared variable with a degree of freedom
less than there are groups, n and m being the rows (Yurdakul, Statistical Properties of Population
Stability Index, 2018). So what is worth a warning depends on the rows: see ``threshold``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from scoring.job.checks import PSI_WARNS
from scoring.monitoring.statistics import Counts, values_of

FEWEST_ROWS = 100
CONFIDENCE = 0.999

_GROUPS = 10
_DISTINCT = 20
"""A column with at most so many distinct numbers is compared value by value."""
_FEWEST_EXPECTED = 5
"""Cochran's rule (Biometrics 10, 1954): groups that expect fewer rows are taken together."""

Verdict = Literal["ok", "warn", "too few rows", "new column", "not comparable"]
Numbers = npt.NDArray[np.float64]


class ColumnDrift(BaseModel):
    """How one column differs from ``reference``; shares are of all rows of the column.

    ``psi_warns`` is the PSI from which on it is worth a warning. ``new`` is the share of values
    that the reference does not have: other categories, or numbers outside of its range. A figure
    is None where the column has none: ``wasserstein`` and ``ks`` are for numbers.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    column: str
    role: Literal["input", "output"]
    reference: str
    rows: int
    reference_rows: int = 0
    verdict: Verdict
    psi: float | None = None
    psi_warns: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    jensen_shannon: float | None = None
    nulls: float = 0.0
    reference_nulls: float = 0.0
    new: float | None = None

    @property
    def has_moved(self) -> bool:
        return self.verdict == "warn"

    def __str__(self) -> str:
        if self.psi is None:
            return f"{self.column} against {self.reference}: {self.verdict}"
        return (
            f"{self.column} against {self.reference}: PSI {self.psi:.3f} "
            f"(a warning from {self.psi_warns:.3f}), {self.verdict}"
        )


def compare(
    role: Literal["input", "output"],
    columns: Mapping[str, Counts],
    reference: str,
    others: Mapping[str, Counts],
) -> Iterator[ColumnDrift]:
    """Yield the drift of each of ``columns`` from its namesake in ``others``."""
    for name, counts in columns.items():
        found = ColumnDrift(
            column=name,
            role=role,
            reference=reference,
            rows=counts.rows,
            nulls=_share(counts.nulls, counts.rows),
            verdict="new column",
        )
        other = others.get(name)
        yield found if other is None else found.model_copy(update=_figures(counts, other))


def threshold(groups: int, rows: int, reference_rows: int) -> float:
    """Return the PSI from which on a column is worth a warning: at least 0.1, and so much that one
    column in a thousand without any drift exceeds it.
    """
    from scipy.stats import chi2

    by_chance = chi2.ppf(CONFIDENCE, max(groups - 1, 1)) * (1 / rows + 1 / reference_rows)
    return max(PSI_WARNS, float(by_chance))


def worst_first(found: Iterable[ColumnDrift]) -> list[ColumnDrift]:
    """Return ``found`` by how far the columns have moved, in units of what is worth a warning."""
    return sorted(found, key=lambda d: -((d.psi or 0.0) / (d.psi_warns or 1.0)))


def _share(part: int, of: int) -> float:
    return part / of if of else 0.0


def _figures(counts: Counts, other: Counts) -> dict[str, object]:
    found: dict[str, object] = {
        "reference_rows": other.rows,
        "reference_nulls": _share(other.nulls, other.rows),
        "verdict": "too few rows",
    }
    if min(counts.rows, other.rows) < FEWEST_ROWS:
        return found
    has_numbers = bool(counts.buckets or other.buckets)
    has_categories = bool(counts.categories or other.categories)
    if counts.too_many or other.too_many or (has_numbers and has_categories):
        groups = _with_nulls(np.zeros((2, 0)), counts, other)
        found["verdict"] = "not comparable"
    elif has_numbers:
        numbers, values, sizes = common_buckets(counts, other)
        groups = _with_nulls(_number_groups(numbers, sizes), counts, other)
        found |= _distances(values, sizes)
        found["new"] = _share(int(sizes[0][_outside(numbers, sizes[1])].sum()), counts.rows)
    else:
        groups, new = _category_groups(counts, other)
        groups = _with_nulls(groups, counts, other)
        found["new"] = _share(new, counts.rows)
    psi, occurring = _psi(groups)
    warns = threshold(occurring, counts.rows, other.rows)
    comparable = found["verdict"] != "not comparable"
    if comparable:
        found["jensen_shannon"] = _jensen_shannon(groups)
    if comparable or psi >= warns:  # so many nulls say enough
        found["verdict"] = "warn" if psi >= warns else "ok"
    return found | {"psi": psi, "psi_warns": warns}


def common_buckets(
    counts: Counts, other: Counts
) -> tuple[npt.NDArray[np.int64], Numbers, npt.NDArray[np.int64]]:
    """Return the buckets of both in ascending order, a value in each, and how often each has it."""
    bits = min(counts.bits, other.bits)
    both = counts.coarser(bits), other.coarser(bits)
    numbers = np.array(sorted(both[0].keys() | both[1].keys()), dtype=np.int64)
    values = values_of(numbers, bits)
    sizes = np.array([[of.get(n, 0) for n in numbers.tolist()] for of in both], dtype=np.int64)
    return numbers, values, sizes.reshape(2, -1)


def _outside(
    numbers: npt.NDArray[np.int64], of_reference: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return which buckets lie outside the range of the reference."""
    occurring = numbers[of_reference > 0]
    if not len(occurring):
        return np.ones(len(numbers), dtype=bool)
    return np.asarray((numbers < occurring[0]) | (numbers > occurring[-1]))


def _number_groups(numbers: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Numbers:
    """Return the rows of both by group: a column a group."""
    mine, reference = sizes
    occurring = reference > 0
    if occurring.sum() <= _DISTINCT:
        return _pooled(sizes[:, occurring], sizes[:, ~occurring])
    passed = np.cumsum(reference)
    ranks = np.arange(1, _GROUPS) * passed[-1] / _GROUPS
    cuts = np.unique(numbers[np.searchsorted(passed, ranks)])
    group = np.searchsorted(cuts, numbers)
    outside = _outside(numbers, reference)
    within = [
        [float(of[(group == g) & ~outside].sum()) for g in range(len(cuts) + 1)] for of in sizes
    ]
    return np.column_stack([np.array(within), [[float(mine[outside].sum())], [0.0]]])


def _category_groups(counts: Counts, other: Counts) -> tuple[Numbers, int]:
    """Return the rows of both by group, and how many values of the first the reference does not
    have.
    """
    known = list(other.categories)
    sizes = np.array([[of.categories.get(name, 0) for name in known] for of in (counts, other)])
    # Of an output only the most frequent classes are listed.
    mine, reference = (of.rows - of.nulls - sum(of.categories.values()) for of in (counts, other))
    new = sum(count for name, count in counts.categories.items() if name not in other.categories)
    others = np.array([[new + mine], [reference]])
    return _pooled(sizes.reshape(2, -1), others), new


def _pooled(sizes: npt.NDArray[np.int64], new: npt.NDArray[np.int64]) -> Numbers:
    """Return a column for each value of the reference that is frequent enough, one for the others,
    and one for what is ``new``.
    """
    mine, reference = sizes.sum(axis=1) + new.sum(axis=1)
    least = _FEWEST_EXPECTED / max(1, min(mine, reference))
    frequent = sizes[1] >= least * max(1, reference)
    rare = sizes[:, ~frequent].sum(axis=1, keepdims=True)
    return np.column_stack([sizes[:, frequent], rare, new.sum(axis=1, keepdims=True)]).astype(float)


def _with_nulls(groups: Numbers, counts: Counts, other: Counts) -> Numbers:
    """Return ``groups`` with one of the nulls; all other rows are one group where there is none."""
    nulls = np.array([[counts.nulls], [other.nulls]], dtype=float)
    if not groups.size:
        groups = np.array([[counts.rows], [other.rows]], dtype=float) - nulls
    return np.column_stack([groups, nulls])


def _psi(groups: Numbers) -> tuple[float, int]:
    """Return PSI and how many groups occur at all; half a row is added to each, so that a group
    that one of them lacks counts, but not without limit.
    """
    from scipy.special import rel_entr

    groups = groups[:, groups.sum(axis=0) > 0]
    p, q = (of / of.sum() for of in groups + 0.5)
    return float((rel_entr(p, q) + rel_entr(q, p)).sum()), groups.shape[1]


def _distances(values: Numbers, sizes: npt.NDArray[np.int64]) -> dict[str, float | None]:
    """Return what compares two distributions of numbers; None where one has no numbers."""
    from scipy.stats import wasserstein_distance

    mine, reference = sizes
    if not mine.sum() or not reference.sum():
        return {"ks": None, "wasserstein": None}
    apart = np.cumsum(mine) / mine.sum() - np.cumsum(reference) / reference.sum()
    found: dict[str, float | None] = {"ks": float(np.abs(apart).max()), "wasserstein": None}
    scale = np.abs(values).max() or 1.0  # or squares of the largest doubles overflow
    scaled = values / scale
    mean = np.average(scaled, weights=reference)
    spread = math.sqrt(np.average(np.square(scaled - mean), weights=reference))
    if spread:
        distance = wasserstein_distance(scaled, scaled, mine, reference)
        found["wasserstein"] = float(distance) / spread
    return found


def _jensen_shannon(groups: Numbers) -> float:
    """Return the distance over the groups of PSI: over single buckets, of which there are hundreds,
    it would be large by chance alone.
    """
    from scipy.spatial.distance import jensenshannon

    distance = float(jensenshannon(groups[0], groups[1], base=2))
    return distance if math.isfinite(distance) else 0.0
