"""Promotion: a version of the model is in force from a partition on, by an edit of the job file.

Only the value that says so is replaced; every other byte of the file stays, comments too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from scoring.errors import JobError, PartitionError
from scoring.job.loader import JobFile, parse_job
from scoring.job.yaml_text import compose_yaml, decode_yaml


@dataclass(frozen=True)
class Promotion:
    """The job file before and after; ``data`` are the bytes to be written.

    ``moved_from`` is where the version was in force from until now; None for a candidate.
    """

    before: JobFile
    after: JobFile
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
    _check_key(before, since)
    start, end, value = _edit(compose_yaml(text), names.index(version), since, text)
    edited = text[:start] + value + text[end:]
    changed = edited.encode(encoding)
    after = parse_job(path, changed)
    model = before.job.model
    assert model is not None
    old = model.versions[names.index(version)]
    wanted = old.model_copy(update={"in_force_from": since, "candidate": False})
    versions = [wanted if one is old else one for one in model.versions]
    expected = before.job.model_copy(
        update={"model": model.model_copy(update={"versions": versions})}
    )
    if after.job != expected:
        raise JobError(
            f"{before.place(('model', 'versions', names.index(version)))}: cannot be edited without "
            "changing something else, as by an anchor (&) or a merge (<<); nothing was written. Write "
            f"in_force_from: {since} there by hand"
        )
    if after.job.version_for(after.job.parse(since)).version != version:
        newest = after.job.history[-1][1]
        raise JobError(
            f"{version} would not be in force in {since}: model.policy is current, and {newest.version}, "
            f"in force from {newest.in_force_from}, stays the newest version. Nothing was written"
        )
    return Promotion(before, after, changed, version, old.in_force_from, _diff(path, text, edited))


def _check_key(file: JobFile, since: str) -> None:
    try:
        file.job.parse(since)
    except PartitionError as error:
        raise JobError(f"--from: {error}") from None


def _edit(root: yaml.Node, index: int, since: str, text: str) -> tuple[int, int, str]:
    """Return what is replaced of ``text``, from where to where, and by what."""
    versions = _child(_child(root, "model"), "versions")
    assert isinstance(versions, yaml.SequenceNode)
    version = versions.value[index]
    pairs = {key.value: (key, value) for key, value in _pairs(version)}
    if "in_force_from" in pairs:
        _, node = pairs["in_force_from"]
        start, end = node.start_mark.index, node.end_mark.index
        quote = text[start] if text[start] in "\"'" else ""
        return start, end, f"{quote}{since}{quote}"
    if "candidate" in pairs:
        key, node = pairs["candidate"]
        return key.start_mark.index, node.end_mark.index, f"in_force_from: {since}"
    start = version.start_mark.index  # both come from a merge; the caller refuses what comes of it
    return start, start, ""


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
