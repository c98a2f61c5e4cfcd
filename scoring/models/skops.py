"""skops files: an archive that says which types it contains, each of which must be trusted."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Sequence

from scoring.errors import ModelError, raise_if_resource_error
from scoring.models.base import Model, ModelFile
from scoring.models.sklearn import loaded
from scoring.storage.archive import unpacked_sizes
from scoring.storage.decompression import most_unpacked_bytes

SCHEMA = "schema.json"
SCHEMA_TIMES = 10
"""How many bytes of memory one byte of the schema counts for: JSON becomes objects, and these nodes."""


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``data``; see ``scoring.models.base.Loader``.

    scikit-learn's own types are trusted, others only if ``trusted_types`` names them.
    """
    import skops.io

    try:
        _check_decompression(data)
        found = skops.io.get_untrusted_types(data=data)
        unknown = sorted(set(found) - set(trusted_types))
        if not unknown:
            return loaded(lambda: skops.io.loads(data, trusted=list(trusted_types)), file)
    except ModelError:
        raise
    except Exception as e:
        raise_if_resource_error(e)
        raise ModelError(
            f"{file.uri} is not a skops file that can be loaded here: {type(e).__name__}: {e}"
        ) from e
    raise ModelError(
        f"{file.uri} contains types that {file.name} does not trust: {', '.join(unknown)}; it was "
        "not loaded and nothing was scored. If you know them, list them in the job file under "
        "model.trusted_types"
    )


def _check_decompression(data: bytes) -> None:
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
