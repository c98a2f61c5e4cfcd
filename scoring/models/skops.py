"""skops files: an archive that says which types it contains, each of which must be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from scoring.errors import ModelError, raise_if_resource_error
from scoring.models.base import Model, ModelFile
from scoring.models.sklearn import loaded
from scoring.models.skops_archive import check_decompression, untrusted_types


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``data``; see ``scoring.models.base.Loader``.

    scikit-learn's own types are trusted, others only if ``trusted_types`` names them.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        check_decompression(data)
        return loaded(lambda: skops.io.loads(data, trusted=list(trusted_types)), file)
    except UntrustedTypesFoundException:  # before anything in it was loaded
        unknown = sorted(untrusted_types(data) - set(trusted_types))
    except ModelError:
        raise
    except (Exception, SystemExit) as e:
        raise_if_resource_error(e)
        raise ModelError(
            f"{file.uri} is not a skops file that can be loaded here: {type(e).__name__}: {e}"
        ) from e
    raise ModelError(
        f"{file.uri} contains types that {file.name} does not trust: {', '.join(unknown)}; it was "
        "not loaded and nothing was scored. If you know them, list them in the job file under "
        "model.trusted_types"
    )
