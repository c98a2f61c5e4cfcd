"""skops files: an archive that says which types it contains, each of which must be trusted."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from scoring.errors import ModelError
from scoring.models.base import Model, ModelFile
from scoring.models.sklearn import loaded
from scoring.storage.decompression import unpacks_too_far


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """The model in ``data``; see ``scoring.models.base.Loader``.

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
        raise ModelError(
            f"{file.uri} is not a skops file that can be loaded here: {type(e).__name__}: {e}; "
            "nothing was scored"
        ) from e
    raise ModelError(
        f"{file.uri} contains types that {file.name} does not trust: {', '.join(unknown)}; it was "
        "not loaded and nothing was scored. If you know them, list them in the job file under "
        "model.trusted_types"
    )


def _check_decompression(data: bytes) -> None:
    """ValueError for an archive that would fill the memory; no more is unpacked than it says itself."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        expanded = sum(entry.file_size for entry in archive.infolist())
    if unpacks_too_far(len(data), expanded):
        raise ValueError(f"{len(data):,} bytes that unpack to {expanded:,}")
