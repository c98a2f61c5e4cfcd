"""Lets the ensembles of a loaded model be evaluated here, where that gives scikit-learn's bits."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from scoring.errors import raise_if_resource_error
from scoring.models.instance import override
from scoring.models.sklearn import minor
from scoring.models.trees import forests, gradient_boosting, hist_boosting
from scoring.models.trees.compiled import kernels
from scoring.models.trees.ensemble import UnsupportedError
from scoring.models.trees.exact import ExactTrees
from scoring.models.trees.find import ensembles_in

log = logging.getLogger(__name__)

RELEASES = ("1.6", "1.7", "1.8", "1.9")
"""Those of scikit-learn whose code the modules of the families follow."""

FAMILIES: dict[str, ModuleType] = {
    "HistGradientBoostingRegressor": hist_boosting,
    "HistGradientBoostingClassifier": hist_boosting,
    "GradientBoostingRegressor": gradient_boosting,
    "GradientBoostingClassifier": gradient_boosting,
    "RandomForestRegressor": forests,
    "RandomForestClassifier": forests,
    "ExtraTreesRegressor": forests,
    "ExtraTreesClassifier": forests,
}
"""The classes of scikit-learn that are evaluated here, and the module that knows how."""

EXACT = "exact"
OTHER_ROWS = "scikit-learn: rows of another form, such as sparse ones"


@dataclass(frozen=True)
class Attached:
    """An ensemble of a model: ``exact`` is what evaluates it, or ``reason`` says why none does."""

    kind: str
    exact: ExactTrees | None = None
    reason: str = ""

    @property
    def status(self) -> str:
        reason = self.exact.differs if self.exact else self.reason
        if reason:
            return f"scikit-learn: {reason.replace(';', ',')}"  # several are joined by semicolons
        return f"{EXACT}; {OTHER_ROWS}" if self.exact and self.exact.refused else EXACT


def attach(model: Any, wanted: bool = True) -> list[Attached]:
    """Let the ensembles in ``model`` be evaluated here; what became of each of them.

    Nothing is changed where it is not ``wanted``.
    """
    package = sys.modules.get("sklearn.ensemble")  # imported by the first model that has one
    if package is None:
        return []
    kinds = tuple(getattr(package, name) for name in FAMILIES)
    try:
        return [*_attach_all(model, kinds, wanted)]
    except Exception as error:  # noqa: BLE001 - a model that can be loaded is not refused for this
        raise_if_resource_error(error)
        log.warning("exact trees are off for a %s: %s", type(model).__name__, error)
        return []


def _attach_all(model: Any, kinds: tuple[type, ...], wanted: bool) -> Iterator[Attached]:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    for one in ensembles_in(model, kinds):
        kind = type(one).__name__
        try:
            check_is_fitted(one)
        except NotFittedError:  # what a Voting or Stacking was made of has copies that are fitted
            continue
        try:
            if not wanted:
                raise UnsupportedError("run.exact_trees is false")
            if type(one) not in kinds:
                raise UnsupportedError("it is a class of its own")
            yield Attached(kind, exact=_attach_to(one, FAMILIES[kind]))
        except UnsupportedError as error:
            yield Attached(kind, reason=str(error))


def _attach_to(model: Any, family: ModuleType) -> ExactTrees:
    """Let the ensemble ``model`` be evaluated here; UnsupportedError where that cannot be."""
    from sklearn import __version__ as release

    if minor(release) not in RELEASES:
        raise UnsupportedError(f"scikit-learn {release} was not tried")
    if kernels() is None:
        raise UnsupportedError("the compiled part is missing")
    try:
        ensemble = family.read(model)
        ensemble.check()
        exact = ExactTrees(type(model).__name__, ensemble, family.DTYPE, family.own(model))
        override(model, family.methods(model, exact))
    except UnsupportedError:
        raise
    except Exception as error:
        raise_if_resource_error(error)
        raise UnsupportedError(f"it is not as expected: {error}") from error
    return exact


def trees_of(model: Any) -> dict[str, str]:
    """Return what evaluates the ensembles of ``model``, a ``Model``: of each class ``exact``, or
    ``scikit-learn:`` and the reason.
    """
    return merged({one.kind: one.status} for one in getattr(model, "ensembles", ()))


def merged(found: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return several answers of ``trees_of`` as one, which has all that is said of a class."""
    statuses: dict[str, set[str]] = {}
    for one in found:
        for kind, status in one.items():
            statuses.setdefault(kind, set()).update(status.split("; "))
    return {kind: "; ".join(sorted(statuses[kind])) for kind in sorted(statuses)}
