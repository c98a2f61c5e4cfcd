"""Promotion: a version of the model is in force from a partition on, by an edit of the job file.

Only the value that says so is replaced; every other byte of the file stays, comments too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from scoring.errors import JobError, PartitionError
from scoring.job.loader import JobFile, parse_job
from scoring.job.model import ModelVersionConfig
from scoring.job.yaml_text import compose_yaml, decode_yaml


@dataclass(frozen=True)
class Promotion:
    """The job file before and after.

    ``moved_from`` is where the version was in force from until now; None for a candidate.
    ``before_data`` are the bytes that were read, ``data`` those to be written.
    """

    before: JobFile
    after: JobFile
    before_data: bytes
    data: bytes
    version: str
    moved_from: str | None
    diff: str


def promote(path: Path, version: str, since: str) -> Promotion:
    """Return the edit of the job file at ``path`` that puts ``version`` in force from ``since`` on.

    Nothing is written. Raises JobError for a file that is not valid or would not be, for a version
    that it does not have, and where the edit cannot be made without touching something else.
    """
    data = path.read_bytes()
    before = parse_job(path, data)
    text, encoding = decode_yaml(path, data)
    names = before.job.version_names
    if version not in names:
        raise JobError(
            f"{before.job.name} has no model version {version!r}; it has {', '.join(names) or 'none'}"
        )
    index = names.index(version)
    _check_date(before, index, since)
    changed = _edited(compose_yaml(text), index, since, text).encode(encoding)
    after = _parsed(before, index, since, changed)
    if after.job.version_for(after.job.parse(since)).version != version:
        newest = after.job.history[-1][1]
        raise JobError(
            f"{version} would not be in force in {since}: model.policy is current, and {newest.version}, "
            f"in force from {newest.in_force_from}, stays the newest version. Nothing was written"
        )
    moved_from = _version(before, index).in_force_from
    diff = _diff(path, text, changed.decode(encoding))
    return Promotion(before, after, data, changed, version, moved_from, diff)


def _version(file: JobFile, index: int) -> ModelVersionConfig:
    assert file.job.model is not None
    return file.job.model.versions[index]


def _check_date(file: JobFile, index: int, since: str) -> None:
    """Raise JobError for a key that is none, or from which another version is in force."""
    try:
        wanted = file.job.parse(since)
    except PartitionError as error:
        raise JobError(f"--from: {error}") from None
    name = _version(file, index).version
    for begins, other in file.job.history:
        if begins == wanted and other.version != name:
            raise JobError(
                f"{other.version} is in force from {since} on already; two versions cannot begin with "
                "the same partition. Nothing was written"
            )


def _parsed(before: JobFile, index: int, since: str, changed: bytes) -> JobFile:
    """Return what the edited file says; JobError where that is anything else than was asked for."""
    model, old = before.job.model, _version(before, index)
    assert model is not None
    wanted = old.model_copy(update={"in_force_from": since, "candidate": False})
    versions = [wanted if one is old else one for one in model.versions]
    expected = before.job.model_copy(
        update={"model": model.model_copy(update={"versions": versions})}
    )
    try:
        after = parse_job(before.path, changed)
    except JobError:
        after = None
    if after is None or after.job != expected:
        raise JobError(
            f"{before.place(('model', 'versions', index))}: cannot be edited without touching something "
            "else, such as an anchor (&), a merge (<<), a tag (!), a block of text (|) or a comment "
            f"within it; nothing was written. Write in_force_from: {since} there by hand"
        )
    return after


def _edited(root: yaml.Node, index: int, since: str, text: str) -> str:
    """Return ``text`` with the date of the version; as it is where nothing there can be replaced."""
    versions = _child(_child(root, "model"), "versions")
    assert isinstance(versions, yaml.SequenceNode)
    pairs = {key.value: (key, value) for key, value in _pairs(versions.value[index])}
    if "in_force_from" in pairs:
        _, node = pairs["in_force_from"]
        start, end = node.start_mark.index, node.end_mark.index
        quote = text[start] if text[start] in "\"'" else ""
        new, plain = f"{quote}{since}{quote}", r"[\w.+:-]+|'[^']*'|\"[^\"]*\""
    elif "candidate" in pairs:
        key, node = pairs["candidate"]
        start, end = key.start_mark.index, node.end_mark.index
        new, plain = f"in_force_from: {since}", r"[\"']?candidate[\"']?[ ]*:[ ]+\w+"
    else:  # from a merge: it stands elsewhere, for other versions too
        return text
    if not re.fullmatch(plain, text[start:end]):
        return text
    return text[:start] + new + text[end:]


def _child(node: yaml.Node, name: str) -> yaml.Node:
    return next(value for key, value in _pairs(node) if key.value == name)


def _pairs(node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    assert isinstance(node, yaml.MappingNode)
    yield from node.value


def _diff(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(path), str(path), lineterm="", n=2
    )
    return "\n".join(lines)
