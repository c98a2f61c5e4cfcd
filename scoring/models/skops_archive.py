"""What a skops file says before anything in it is loaded: its types, and how much it unpacks to."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter

from scoring.storage.archive import unpacked_sizes
from scoring.storage.decompression import most_unpacked_bytes

SCHEMA = "schema.json"
SCHEMA_TIMES = 10
"""How many bytes of memory one byte of the schema counts for: JSON becomes objects, and these nodes."""


def untrusted_types(data: bytes) -> set[str]:
    """Return the types in ``data`` that skops itself does not trust, without loading them.

    Raises ValueError for an archive that would fill the memory, and what skops raises for others.
    """
    import skops.io

    check_decompression(data)
    return {*skops.io.get_untrusted_types(data=data)}


def check_decompression(data: bytes) -> None:
    """Raise ValueError for an archive that would fill the memory once skops, numpy or scipy unpacks
    it.

    Counted are archives inside the archive (scipy's matrices), the schema's objects, and entries
    that the schema names again and again, each of which skops unpacks each time.
    """
    most = most_unpacked_bytes(len(data))
    sizes = unpacked_sizes(data, most)
    expanded = sum(sizes.values()) + (SCHEMA_TIMES - 1) * sizes.get(SCHEMA, 0)
    if expanded <= most and SCHEMA in sizes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            schema = json.loads(archive.read(SCHEMA))
        again = Counter(name for name, _ in _reads(schema))
        expanded += sum((times - 1) * sizes.get(name, 0) for name, times in again.items())
    if expanded > most:
        raise ValueError(f"{len(data):,} bytes that unpack to {expanded:,}")


def _reads(schema: object) -> set[tuple[str, object]]:
    """Return the entries that skops will unpack: once for each ``__id__`` that names one, or
    without any.
    """
    found: set[tuple[str, object]] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name, number = node.get("file"), node.get("__id__")
            if isinstance(name, str):
                known = number if number and isinstance(number, int | str) else object()
                found.add((name, known))
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return found
