"""Model files: vouched for by the job, then loaded.

A model file is code.  Its bytes are read once, their digest is compared with the job's, and only
then are these same bytes loaded.  A skops file may contain scikit-learn's own types and those that
the job's ``model.trusted_types`` names; a joblib file is a pickle and needs a digest in the job.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from typing import Any

from pydantic import BaseModel, ConfigDict

from scoring.connections import Connections
from scoring.errors import ModelError
from scoring.expansion import unpacks_too_far
from scoring.job import Job, ModelVersion
from scoring.run import PartitionRun
from scoring.scorer import read_scorer
from scoring.uri import Roots


class ModelFile(BaseModel):
    """Which bytes are the model: the job's version, where they lie, their digest and format."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    name: str
    version: str
    uri: str
    sha256: str


class LoadedModel(BaseModel):
    """A model in memory and the release of scikit-learn that its file says it was saved with."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    estimator: Any
    saved_with_sklearn: str | None


def choose_model(run: PartitionRun, pinned_version: str | None = None) -> ModelFile:
    """The model file that scores ``run``'s partition: by the job's policy, or the pinned version.

    For a job without a model, the job's own scorer file stands for it, with its digest as version.
    Raises ModelError as ``Job.version_for`` and ``vouch`` do.
    """
    job, scorer = run.job, run.job_file.scorer_path
    if job.model is None and scorer is not None and pinned_version is None:
        digest = read_scorer(scorer).sha256
        version = f"scorer-{digest[:8]}"
        return ModelFile(name=job.name, version=version, uri=str(scorer), sha256=digest)
    return vouch(job, job.version_for(run.partition, pinned_version), run.roots, run.connections)


def vouch(job: Job, version: ModelVersion, roots: Roots, connections: Connections) -> ModelFile:
    """The file of ``version``, its digest compared with the job's.

    Raises ModelError if it is not there or has another digest than the job vouches for.
    """
    uri = roots.expand(version.uri)
    data = _bytes_of(uri, f"{job.name} {version.version}", connections)
    digest = hashlib.sha256(data).hexdigest()
    if version.sha256 is not None and digest != version.sha256:
        raise ModelError(
            f"{uri} is not the file that {job.name} vouches for as {version.version}: its sha256 is "
            f"{digest}, the job file says {version.sha256}; it was not loaded and nothing was "
            "scored. Put the right file back, or list this one as a new version"
        )
    return ModelFile(name=job.name, version=version.version, uri=uri, sha256=digest)


def load_model(file: ModelFile, trusted_types: list[str], connections: Connections) -> LoadedModel:
    """The model in ``file``, whose bytes must still have the digest that was vouched for.

    Raises ModelError if they have not, if the file contains types that are not trusted, if it
    cannot be read, or if another scikit-learn (major.minor) saved it.
    """
    data = _bytes_of(file.uri, f"{file.name} {file.version}", connections)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise ModelError(
            f"{file.uri} was replaced while {file.name} was being scored with it; it was not "
            "loaded. Run the partition again"
        )
    load = _load_joblib if file.uri.endswith(".joblib") else _load_skops
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = load(data, file, trusted_types)
    saved_with = _check_sklearn(estimator, caught, file)
    return LoadedModel(estimator=estimator, saved_with_sklearn=saved_with)


def _bytes_of(uri: str, what: str, connections: Connections) -> bytes:
    try:
        data = connections.storage(uri).read(uri)
    except OSError as error:
        raise ModelError(
            f"{uri}, the model file of {what}, cannot be read: {error.strerror}; nothing was scored"
        ) from None
    if data is None:
        raise ModelError(f"the model file of {what} is not there: {uri}; nothing was scored")
    return data


def _load_skops(data: bytes, file: ModelFile, trusted_types: list[str]) -> Any:
    import skops.io

    try:
        _check_expansion(data)
        found = skops.io.get_untrusted_types(data=data)
        unknown = sorted(set(found) - set(trusted_types))
        if not unknown:
            return skops.io.loads(data, trusted=list(trusted_types))
    except Exception as e:
        raise _cannot_load("skops", file, e) from e
    raise ModelError(
        f"{file.uri} contains types that {file.name} does not trust: {', '.join(unknown)}; it was "
        "not loaded and nothing was scored. If you know them, list them in the job file under "
        "model.trusted_types"
    )


def _check_expansion(data: bytes) -> None:
    """ValueError for an archive that would fill the memory; no more is unpacked than it says itself."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        expanded = sum(entry.file_size for entry in archive.infolist())
    if unpacks_too_far(len(data), expanded):
        raise ValueError(f"{len(data):,} bytes that unpack to {expanded:,}")


def _load_joblib(data: bytes, file: ModelFile, trusted_types: list[str]) -> Any:
    import joblib

    try:
        return joblib.load(io.BytesIO(data))
    except (ImportError, AttributeError) as e:
        raise ModelError(
            f"{file.uri} needs something that is not here: {e}. Install what the model was trained "
            "with; what a script or notebook itself defined (__main__) has to move to a module that "
            "can be imported, and the model to be saved again"
        ) from e
    except Exception as e:
        raise _cannot_load("joblib", file, e) from e


def _cannot_load(kind: str, file: ModelFile, error: Exception) -> ModelError:
    return ModelError(
        f"{file.uri} is not a {kind} file that can be loaded here: {type(error).__name__}: {error}; "
        "nothing was scored"
    )


def _check_sklearn(
    estimator: Any, caught: list[warnings.WarningMessage], file: ModelFile
) -> str | None:
    """The scikit-learn that saved the model; None for a model that is not scikit-learn's.

    Raises ModelError if it is another.  scikit-learn warns of a part that another release saved.
    """
    from sklearn import __version__ as installed
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import InconsistentVersionWarning

    told = [w.message for w in caught if isinstance(w.message, InconsistentVersionWarning)]
    others = [str(warning.original_sklearn_version) for warning in told]
    for saved in others:  # each part of a pipeline has its own
        if _minor(saved) != _minor(installed):
            raise ModelError(
                f"{file.uri} was saved with scikit-learn {saved}, and this is {installed}: its "
                "predictions could differ without a sign, so nothing was scored. Train or save it "
                f"again with {_minor(installed)}.*, or run this job where scikit-learn "
                f"{_minor(saved)}.* is"
            )
    if others:
        return others[-1]
    return str(installed) if isinstance(estimator, BaseEstimator) else None


def _minor(version: str) -> str:
    match = re.match(r"\d+\.\d+", version)
    return match.group() if match else version
