"""Pickles, with or without joblib, which run code when they are loaded: the job gives their digest."""

from __future__ import annotations

import io
from collections.abc import Sequence

from scoring.errors import ModelError, raise_if_resource_error
from scoring.models.base import Model, ModelFile
from scoring.models.content import saved_with
from scoring.models.sklearn import in_environment, loaded


def load(data: bytes, file: ModelFile, trusted_types: Sequence[str]) -> Model:
    """Return the model in ``data``; see ``scoring.models.base.Loader``."""
    import joblib

    try:
        return loaded(lambda: joblib.load(io.BytesIO(data)), file)
    except ModelError:
        raise
    except (ImportError, AttributeError) as e:
        raise_if_resource_error(e)
        raise ModelError(
            f"{file.uri} needs something that is not here{_saved_by(data)}: {e}. Install what the "
            "model was trained with; what a script or notebook itself defined (__main__) has to "
            "move to a module that can be imported, and the model to be saved again. If it needs "
            f"older packages, {in_environment(file, saved_with(data))}"
        ) from e
    except (Exception, SystemExit) as e:
        raise_if_resource_error(e)
        raise ModelError(
            f"{file.uri} is not a joblib file that can be loaded here{_saved_by(data)}: "
            f"{type(e).__name__}: {e}. If it needs older packages, "
            f"{in_environment(file, saved_with(data))}"
        ) from e


def _saved_by(data: bytes) -> str:
    saved = saved_with(data)
    return f" (it was saved with scikit-learn {saved})" if saved else ""
