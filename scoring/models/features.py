"""Whether the parts of a scikit-learn model know the features that the job's inputs give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scoring.models.base import Model

_HOLDERS = ("steps", "transformers_", "estimators_", "transformer_list", "calibrated_classifiers_")
_HELD = ("estimator", "estimator_", "best_estimator_", "regressor_", "classifier_", "transformer_")


def feature_warnings(model: Model, inputs: list[str], with_nulls: set[str]) -> list[str]:
    """Return what does not fit, although the model predicts: one sentence each, the same for the
    same model.

    ``with_nulls`` are the inputs of which a row has no value.
    """
    found = []
    for part in _parts(model.native):
        unseen = _none_categories(part) & with_nulls
        if unseen:
            found.append(
                f"null_category: {type(part).__name__} was fitted on None in "
                f"{', '.join(sorted(unseen))}, and a null reaches it as NaN, which it takes for "
                "another category. Fit it on NaN"
            )
        known = _vectorized_names(part)
        if known and not known & {*inputs}:
            shown = ", ".join(sorted(known)[:5])
            found.append(
                f"no_known_feature: {type(part).__name__} knows "
                f"{shown}{'…' if len(known) > 5 else ''}, and none of them is an input of the job "
                f"({', '.join(inputs)})"
            )
    return found


def refused_categories(native: Any) -> dict[str, list[Any]]:
    """Return the values by input that encoders of ``native`` were fitted on, of those that fail for
    any other one (``handle_unknown="error"``).
    """
    found: dict[str, list[Any]] = {}
    for part in _parts(native):
        categories = getattr(part, "categories_", None)
        names = getattr(part, "feature_names_in_", None)
        refuses = getattr(part, "handle_unknown", None) == "error"
        if refuses and isinstance(categories, list) and names is not None:
            for name, values in zip(names, categories, strict=False):
                found[str(name)] = [getattr(value, "item", lambda v=value: v)() for value in values]
    return found


def record_names(native: Any) -> list[str] | None:
    """Return the keys of the records that ``native`` takes, a model behind a DictVectorizer; None
    for one that takes a table.
    """
    steps = getattr(native, "steps", None)
    first = steps[0][1] if isinstance(steps, list) and steps else native
    return sorted(_vectorized_names(first)) or None


def _parts(value: Any, depth: int = 0) -> Iterator[Any]:
    """Yield ``value`` and the estimators within it: of pipelines, column transformers, pairs."""
    if depth > 8 or value is None or isinstance(value, str | bytes):
        return
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item, depth + 1)
        return
    yield value
    for name in _HOLDERS:
        holder = getattr(value, name, None)
        if isinstance(holder, list | tuple):
            yield from _parts(holder, depth + 1)
    for name in _HELD:
        yield from _parts(getattr(value, name, None), depth + 1)


def _none_categories(part: Any) -> set[str]:
    """Return the features of an encoder that it was fitted on with None among their categories."""
    categories = getattr(part, "categories_", None)
    names = getattr(part, "feature_names_in_", None)
    if not isinstance(categories, list) or names is None:
        return set()
    pairs = zip(names, categories, strict=False)
    return {str(name) for name, values in pairs if any(value is None for value in values)}


def _vectorized_names(part: Any) -> set[str]:
    """Return the keys of the records that a DictVectorizer was fitted on."""
    if not hasattr(part, "vocabulary_") or not hasattr(part, "separator"):
        return set()
    return {str(name).partition(part.separator)[0] for name in part.feature_names_}
