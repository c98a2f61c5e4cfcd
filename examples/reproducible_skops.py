"""A skops file with bytes that depend on the model alone.

skops writes the time of day, memory addresses and random file names into its archive, so saving one
model twice gives two digests. A model version is known by its digest: training it again from the
same rows should give the same one.
"""

import io
import json
import zipfile
from typing import Any

import skops.io

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold


def dumps(model: object) -> bytes:
    """Return the model in the skops format; `skops.io.load` reads it like any other."""
    written = zipfile.ZipFile(io.BytesIO(skops.io.dumps(model)))
    schema = json.loads(written.read("schema.json"))
    names: dict[str, str] = {}
    _number_by_order(schema, names, {})

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        for old_name, new_name in names.items():
            _add(archive, new_name, written.read(old_name))
        _add(archive, "schema.json", json.dumps(schema).encode())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, date_time=EPOCH)
    archive.writestr(member, content, compress_type=zipfile.ZIP_DEFLATED)


def _number_by_order(node: Any, names: dict[str, str], ids: dict[int, int]) -> None:
    """Replace memory addresses and file names in the schema by numbers in the order of their
    appearance.
    """
    if isinstance(node, dict):
        if "__id__" in node:
            node["__id__"] = ids.setdefault(node["__id__"], len(ids))
        if isinstance(node.get("file"), str) and "__loader__" in node:
            old = node["file"]
            suffix = old.rpartition(".")[2]
            node["file"] = names.setdefault(old, f"{len(names)}.{suffix}")
        for child in node.values():
            _number_by_order(child, names, ids)
    elif isinstance(node, list):
        for child in node:
            _number_by_order(child, names, ids)
