"""Patterns of names, with the meaning that they have in a file system.

A storage that only lists names matches them here, so that a pattern finds in S3 what it finds on
disk.
"""

from __future__ import annotations

from fnmatch import fnmatchcase


def is_match(name: str, pattern: str) -> bool:
    """Return whether ``pattern`` finds the file ``name``, as ``glob.glob(pattern, recursive=True)``
    would.

    ``*``, ``?`` and ``[…]`` stay within a folder and pass over hidden names, those that begin with
    a dot; ``**``, as a whole part, stands for any number of folders.
    """
    return _parts_match(name.split("/"), pattern.split("/"))


def _parts_match(names: list[str], patterns: list[str]) -> bool:
    if not patterns or not names:
        return not patterns and not names
    name, pattern = names[0], patterns[0]
    if pattern == "**":
        if len(patterns) == 1:
            return not any(map(_is_hidden, names))
        none = _parts_match(names, patterns[1:])
        return none or (not _is_hidden(name) and _parts_match(names[1:], patterns))
    if _is_hidden(name) and not _is_hidden(pattern):
        return False
    return fnmatchcase(name, pattern) and _parts_match(names[1:], patterns[1:])


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
