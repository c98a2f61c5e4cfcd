"""What a model file would import, and call, when it is loaded: read from it, nothing is executed."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from scoring.errors import ModelError
from scoring.models import protobuf
from scoring.models.content import NAMES, kind_of, saved_with
from scoring.models.inspection.found import Found
from scoring.models.inspection.unpack import unpacked
from scoring.models.inspection.verdicts import Verdict, verdict
from scoring.models.inspection.walk import walk
from scoring.models.skops_archive import SCHEMA, untrusted_types


@dataclass(frozen=True)
class Imported:
    """One name: how often the file has it, what is done with it, and what is known of it.

    ``used`` is ``called``, ``given a state``, ``named`` or, in a skops file, ``type``. ``trusted`` says
    whether skops itself considers it safe; None for a pickle.
    """

    name: str
    times: int
    used: str
    verdict: Verdict
    trusted: bool | None = None


@dataclass
class Inspection:
    """What a model file says: its kind, digest and size, what it imports, and what is odd about it.

    ``broken`` is where it cannot be read further: what comes after it is not in ``imports``.
    """

    uri: str
    kind: str
    sha256: str
    bytes: int
    imports: list[Imported] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    broken: str | None = None

    @property
    def is_data(self) -> bool:
        """Whether loading it imports nothing, whatever it holds."""
        return self.kind not in ("joblib", "skops")

    @property
    def untrusted(self) -> list[str]:
        """The types that a job would have to trust."""
        return [one.name for one in self.imports if one.trusted is False]


def inspect_model(data: bytes, uri: str) -> Inspection:
    """Return what ``data``, the bytes of the file ``uri``, would import and call.

    Raises ModelError for a file of a kind that is not known.
    """
    kind = kind_of(data) or "joblib"  # a pickle of protocol 0 or 1 has no first bytes of its own
    digest = hashlib.sha256(data).hexdigest()
    found = Inspection(uri, kind, digest, len(data))
    if kind == "skops":
        _inspect_skops(data, found)
    elif kind == "joblib":
        _inspect_pickle(data, found)
    elif kind == "onnx":
        name, release = protobuf.producer(data)
        found.versions = {name: release} if name and release else {}
        if protobuf.has_external_data(data):
            found.notes.append("tensors lie in another file; a job refuses it")
    return found


def _inspect_pickle(data: bytes, found: Inspection) -> None:
    try:
        plain, compression = unpacked(data, found.uri)
    except ModelError as error:
        found.broken = str(error)
        return
    if compression:
        found.notes.append(f"compressed by {compression}: {len(plain):,} bytes unpacked")
    walked = walk(plain)
    if walked.broken and not walked.imported and not walked.pickles and kind_of(data) is None:
        raise ModelError(
            f"{found.uri} is not a model file of a kind that is known ({', '.join(NAMES)})"
        )
    found.broken = walked.broken
    found.imports = _of_pickle(walked)
    if release := saved_with(plain) or walked.texts.get("_sklearn_version"):
        found.versions["scikit-learn"] = release
    if walked.pickles > 1:
        found.notes.append(
            f"{walked.pickles} pickles, one after the other; the first one is loaded"
        )
    if walked.inside:
        found.notes.append(
            f"{walked.inside} texts of bytes begin as pickles do; what is in them is not listed"
        )
    if walked.persistent:
        found.notes.append(f"{walked.persistent} references to objects outside of the file")


def _of_pickle(walked: Found) -> list[Imported]:
    imports = []
    for one in sorted(walked.imported, key=str):
        used = [
            *(["called"] if walked.called[one] else []),
            *(["given a state"] if walked.built[one] else []),
        ]
        times = max(walked.imported[one], walked.called[one])
        judged = verdict(one.module, one.name)
        imports.append(Imported(str(one), times, " and ".join(used) or "named", judged))
    return imports


def _inspect_skops(data: bytes, found: Inspection) -> None:
    try:
        untrusted = untrusted_types(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            schema = json.loads(archive.read(SCHEMA))
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        found.broken = f"the skops file cannot be read: {type(error).__name__}: {error}"
        return
    names = _names(schema) + Counter(dict.fromkeys(untrusted, 0))
    for name in untrusted:
        names[name] = max(1, names[name])
    found.imports = [
        Imported(name, times, "type", verdict(*_split(name)), name not in untrusted)
        for name, times in sorted(names.items())
    ]
    if release := schema.get("_skops_version"):
        found.versions["skops"] = str(release)


def _split(name: str) -> tuple[str, str]:
    module, _, last = name.rpartition(".")
    return module, last


def _names(schema: Any) -> Counter[str]:
    """Count the types and functions that a schema names."""
    found: Counter[str] = Counter()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            module, name = node.get("__module__"), node.get("__class__")
            if isinstance(module, str) and isinstance(name, str):
                found[f"{module}.{name}"] += 1
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return found
