"""Whether a LightGBM file is whole: its library would read beyond the end of a damaged tree."""

from __future__ import annotations

import re

_KEYS = re.compile(r"^\[?([a-z_]+)(?:=|: )(.*?)\]?$")
_NUMBERS = re.compile(r"(?: *[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|inf|nan)(?= |$))* *")
_INTEGERS = re.compile(r"(?: *-?\d{1,10}(?= |$))* *")
_PARAMETER = re.compile(r"\[[a-z_0-9]+: .*\]")
END = b"\nend of trees"

SPLITS = {
    "split_feature": True, "split_gain": False, "threshold": False, "decision_type": True,
    "left_child": True, "right_child": True, "internal_value": False, "internal_weight": False,
    "internal_count": True,
}  # fmt: skip
"""Lists of a tree with one item for each of its splits, and whether these are integers."""
LEAVES = {
    "leaf_value": False, "leaf_weight": False, "leaf_count": True, "leaf_const": False,
    "num_features": True,
}  # fmt: skip
"""The same for its leaves."""
OTHERS = {
    "num_leaves": True, "num_cat": True, "cat_boundaries": True, "cat_threshold": True,
    "is_linear": True, "leaf_features": True, "leaf_coeff": False, "shrinkage": False,
}  # fmt: skip
REQUIRED = ("split_feature", "threshold", "decision_type", "left_child", "right_child")


def check_text(data: bytes) -> dict[str, str]:
    """Return the lines of the file that are not of trees, by name: ``[name: …]`` ones as ``[name``.

    Raises ValueError where a tree is missing, has other numbers of splits or leaves than it says,
    or where a split leads outside of it or to a feature that does not exist.
    """
    end = data.find(END)
    if end < 0:
        raise ValueError("it has no end of trees")
    head, begin, _ = data.partition(b"\nTree=")
    header = _lines(head.decode() if begin else data[:end].decode())
    features = _count(header, "max_feature_idx") + 1
    for name in ("feature_names", "feature_infos"):
        if len(header.get(name, "").split(" ")) != features:
            raise ValueError(f"{features} features, and {name} has another number of them")
    at = len(head) + 1
    for number, size in enumerate(_sizes(header)):
        tree = data[at : at + size]
        if not tree.startswith(b"Tree=%d\n" % number) or at + size > end + 1:
            raise ValueError(f"tree {number} does not begin or end where the file says")
        if problem := _problem_of_tree(tree.decode(), features):
            raise ValueError(f"tree {number}: {problem}")
        at += size
    if begin and data[at:end].strip():
        raise ValueError("it has more trees than it says")
    return header | _parameters(data[end:].decode())


def _parameters(text: str) -> dict[str, str]:
    """Return the lines ``[name: …]`` by ``[name``; ValueError where their end, or one, is damaged."""
    _, begin, rest = text.partition("\nparameters:")
    inside, end, _ = rest.partition("\nend of parameters\n")
    lines = [line.rstrip("\r") for line in inside.split("\n") if line.strip()]
    if begin and (not end or not all(_PARAMETER.fullmatch(line) for line in lines)):
        raise ValueError("its parameters are cut off")
    return {f"[{k}": v for k, v in _lines(inside).items()}


def _lines(text: str) -> dict[str, str]:
    found = (_KEYS.match(line.rstrip("\r")) for line in text.split("\n"))
    return {match[1]: match[2] for match in found if match}


def _sizes(header: dict[str, str]) -> list[int]:
    sizes = header.get("tree_sizes", "")
    if not _INTEGERS.fullmatch(sizes) or "-" in sizes:
        raise ValueError("tree_sizes is not a list of numbers")
    return _integers(header, "tree_sizes")


def _count(lines: dict[str, str], name: str) -> int:
    value = lines.get(name, "")
    if not re.fullmatch(r"\d{1,7}", value):
        raise ValueError(f"{name} is {value[:20]!r}, not a number")
    return int(value)


def _integers(lines: dict[str, str], name: str) -> list[int]:
    return [int(value) for value in lines.get(name, "").split()]


def _problem_of_tree(text: str, features: int) -> str | None:
    tree: dict[str, str] = {}
    for line in text.split("\n")[1:]:
        name, equals, value = line.partition("=")
        kinds = SPLITS | LEAVES | OTHERS
        if line and (name not in kinds or not equals or name in tree):
            return f"a line that is not of a tree: {line[:40]!r}"
        if line and not (_INTEGERS if kinds[name] else _NUMBERS).fullmatch(value):
            return f"{name} has something that is not a number"
        tree[name] = value
    leaves, categorical = _count(tree, "num_leaves"), _count(tree, "num_cat")
    if leaves < 1 or len(tree.get("leaf_value", "").split()) != leaves:
        return f"{leaves} leaves, and leaf_value has another number of them"
    if leaves == 1:
        return None
    for names, count in ((SPLITS, leaves - 1), (LEAVES, leaves)):
        for name in names:
            if len(tree.get(name, "").split()) != count and (name in REQUIRED or tree.get(name)):
                return f"{leaves} leaves, and {name} does not have {count} items"
    if not all(0 <= feature < features for feature in _integers(tree, "split_feature")):
        return f"a split by a feature that is not one of the {features}"
    if problem := _problem_of_children(tree, leaves):
        return problem
    if tree.get("is_linear") == "1" and not _is_linear(tree, leaves, features):
        return "its linear leaves have other numbers of features than it says"
    return _problem_of_categories(tree, categorical)


def _is_linear(tree: dict[str, str], leaves: int, features: int) -> bool:
    """Return whether the linear models of a tree's leaves are whole."""
    counts, used = _integers(tree, "num_features"), _integers(tree, "leaf_features")
    return (
        len(tree.get("leaf_const", "").split()) == len(counts) == leaves
        and min(counts) >= 0
        and sum(counts) == len(used) == len(tree.get("leaf_coeff", "").split())
        and all(0 <= feature < features for feature in used)
    )


def _problem_of_children(tree: dict[str, str], leaves: int) -> str | None:
    """Return what is wrong with the way from the root to the leaves: each is reached once."""
    left, right = _integers(tree, "left_child"), _integers(tree, "right_child")
    children = sorted([*left, *right])
    if children != [*range(-leaves, 0), *range(1, leaves - 1)]:
        return "its splits do not lead to each of its leaves"
    for split, (one, other) in enumerate(zip(left, right, strict=True)):
        if 0 <= one <= split or 0 <= other <= split:
            return "a split that leads back"
    return None


def _problem_of_categories(tree: dict[str, str], categorical: int) -> str | None:
    if not categorical:
        decisions = _integers(tree, "decision_type")
        return (
            "a split by categories, of which it has none" if any(d & 1 for d in decisions) else None
        )
    bounds, words = _integers(tree, "cat_boundaries"), tree.get("cat_threshold", "").split()
    if len(bounds) != categorical + 1 or bounds != sorted(bounds) or bounds[:1] != [0]:
        return "cat_boundaries is not a list of growing numbers"
    if bounds[-1] != len(words):
        return "cat_threshold has another length than cat_boundaries says"
    pairs = zip(_integers(tree, "decision_type"), tree["threshold"].split(), strict=True)
    if any(d & 1 and not 0 <= float(t) < categorical for d, t in pairs):
        return f"a split by categories that is not one of its {categorical}"
    return None
