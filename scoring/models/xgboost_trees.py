"""Whether an XGBoost file is whole: its library would read beyond the end of a damaged tree.

The schema is XGBoost's (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from scoring.models.ubjson import parse_ubjson

OF_NODES = (
    "left_children",
    "right_children",
    "parents",
    "split_indices",
    "split_conditions",
    "default_left",
)
"""Lists of a tree with one item for each of its nodes, without which it does not predict."""
ROOT = 2**31 - 1
"""The parent of the root."""
MORE_OF_NODES = ("split_type", "loss_changes", "sum_hessian")


def check_model(data: bytes) -> None:
    """Raise ValueError where ``data`` is not a whole model in JSON or UBJSON.

    That is where a list has another length than the model says, or a split leads outside of its tree,
    to a feature that does not exist, or back.
    """
    try:
        model = parse_ubjson(data) if data[1:2] == b"L" else json.loads(data)
        learner = model["learner"]
        sizes = learner["learner_model_param"]
        features = _number(sizes, "num_feature")
        for name in ("feature_names", "feature_types"):
            if len(learner.get(name, [])) not in (0, features):
                raise ValueError(f"{features} features, and {name} has another number of them")
        booster = learner["gradient_booster"]
        if booster["name"] == "gblinear":
            return _check_linear(booster["model"], sizes, features)
        trees = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
        _check_trees(trees, features)
        groups = max(1, _number(sizes, "num_class"), int(sizes.get("num_target", 1)))
        if any(not 0 <= group < groups for group in trees["tree_info"]):
            raise ValueError(f"a tree of a class or output that is not one of {groups}")
        if booster["name"] == "dart" and len(booster["weight_drop"]) != len(trees["trees"]):
            raise ValueError("weight_drop does not have a number for each tree")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"what should be in it is not there ({error})") from error
    except (RecursionError, OverflowError) as error:
        raise ValueError("it is nested too deep, or has numbers that are too large") from error


def _number(parameters: dict[str, Any], name: str) -> int:
    value = str(parameters[name])
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        raise ValueError(f"{name} is {value[:20]!r}, not a number")
    return int(value)


def _check_linear(model: dict[str, Any], sizes: dict[str, Any], features: int) -> None:
    groups = max(1, _number(sizes, "num_class")) * max(1, int(sizes.get("num_target", 1)))
    if len(model["weights"]) != (features + 1) * groups:
        raise ValueError("weights does not have a number for each feature")


def _check_trees(model: dict[str, Any], features: int) -> None:
    trees = model["trees"]
    count = _number(model["gbtree_model_param"], "num_trees")
    if len(trees) != count or len(model["tree_info"]) != count:
        raise ValueError(f"it has {len(trees)} trees, and says {count}")
    rounds = model.get("iteration_indptr", [0, count])
    if rounds and (rounds[0] != 0 or rounds[-1] != count or sorted(rounds) != list(rounds)):
        raise ValueError("iteration_indptr is not a list of growing numbers of trees")
    for number, tree in enumerate(trees):
        if problem := _problem_of_tree(tree, features):
            raise ValueError(f"tree {number}: {problem}")
    if cats := model.get("cats"):
        _check_categories(cats, features)


def _problem_of_tree(tree: dict[str, Any], features: int) -> str | None:
    nodes = _number(tree["tree_param"], "num_nodes")
    if not nodes or _number(tree["tree_param"], "num_feature") != features:
        return f"it is not one of {features} features"
    for name in (*OF_NODES, *(name for name in MORE_OF_NODES if name in tree)):
        if len(tree[name]) != nodes:
            return f"{nodes} nodes, and {name} has another number of them"
    width = max(1, _number(tree["tree_param"], "size_leaf_vector"))
    left, right = _integers(tree["left_children"]), _integers(tree["right_children"])
    if len(tree.get("base_weights", left)) not in (nodes, nodes * width):
        return f"{nodes} nodes, and base_weights has another number of them"
    if width > 1 and "leaf_weights" in tree:  # a leaf has the place of its weights there
        places = right[left < 0]
        if (places < 0).any() or ((places + 1) * width > len(tree["leaf_weights"])).any():
            return "a leaf that has no weights"
        right = np.where(left < 0, -1, right)
    children = np.concatenate([left[left >= 0], right[right >= 0]])
    if ((left < 0) != (right < 0)).any() or (children >= nodes).any():
        return "a split that leads outside of it"
    if (left < -1).any() or (right < -1).any():
        return "a split that leads outside of it"
    if (children == 0).any() or len(np.unique(children)) != len(children):
        return "a split that leads back"
    if _other_parents(tree, left, right):
        return "a node whose parent is another one"
    splits = _integers(tree["split_indices"])[left >= 0]
    if (splits < 0).any() or (splits >= features).any():
        return f"a split by a feature that is not one of the {features}"
    kinds = _integers(tree.get("split_type") or [0] * nodes)
    return _problem_of_categories(tree, np.flatnonzero((left >= 0) & (kinds != 0)))


def _other_parents(
    tree: dict[str, Any], left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]
) -> bool:
    """Return whether a node names another parent than the split that leads to it.

    Nodes that were deleted keep theirs, and no split leads to them.
    """
    parents = _integers(tree["parents"])
    inner = np.flatnonzero(left >= 0)
    strange = (parents < -1) | ((parents >= len(parents)) & (parents != ROOT))
    return bool(
        strange.any()
        or (parents[left[inner]] != inner).any()
        or (parents[right[inner]] != inner).any()
    )


def _problem_of_categories(tree: dict[str, Any], splits: np.ndarray[Any, Any]) -> str | None:
    nodes, begins, sizes, categories = (
        _integers(tree.get(f"categories{name}", []))
        for name in ("_nodes", "_segments", "_sizes", "")
    )
    if not len(nodes) == len(begins) == len(sizes):
        return "its splits by categories have no categories, or others"
    if not np.array_equal(np.sort(nodes), splits) or (np.diff(nodes) <= 0).any():
        return "its splits by categories have no categories, or others"
    if (begins < 0).any() or (sizes < 0).any() or (begins + sizes > len(categories)).any():
        return "its categories are cut off"
    if len(categories) and (categories.min() < 0 or categories.max() >= 1 << 24):
        return "a category that is not a number of one"
    return None


def _check_categories(cats: dict[str, Any], features: int) -> None:
    """Raise ValueError where the values of categories, by feature, are not whole."""
    segments, order = _integers(cats["feature_segments"]), _integers(cats["sorted_idx"])
    if not len(segments) and not len(order) and not cats["enc"]:
        return
    if len(cats["enc"]) != features or len(segments) != features + 1:
        raise ValueError("its categories are of another number of features")
    if segments[0] != 0 or segments[-1] != len(order) or (np.diff(segments) < 0).any():
        raise ValueError("feature_segments is not a list of growing numbers")
    for feature, encoding in enumerate(cats["enc"]):
        size = int(segments[feature + 1] - segments[feature])
        places = order[segments[feature] : segments[feature + 1]]
        if not np.array_equal(np.sort(places), np.arange(size)):
            raise ValueError(f"the order of the categories of feature {feature} is not one")
        values = encoding["values"]
        if "offsets" not in encoding:
            whole = len(values) == size
        else:
            offsets = _integers(encoding["offsets"])
            whole = len(offsets) == (size + 1 if size else len(offsets))
            whole = whole and not (np.diff(offsets) < 0).any()
            whole = whole and (not len(offsets) or (offsets[0], offsets[-1]) == (0, len(values)))
        if not whole:
            raise ValueError(f"the categories of feature {feature} are cut off")


def _integers(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return a list of integers; ValueError where something else is among them."""
    found = np.asarray(values) if len(values) else np.empty(0, np.int64)
    if found.ndim != 1 or found.dtype.kind not in "bui":
        raise ValueError("a list that should be of integers")
    return found.astype(np.int64)
