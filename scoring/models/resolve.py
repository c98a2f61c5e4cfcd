"""Which model file scores a partition, and that model in memory.

A model file is code.  Its bytes are read once, their digest is compared with the job's, and only
then are these same bytes loaded.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from scoring.errors import ModelError, raise_if_resource_error
from scoring.job.loader import JobFile
from scoring.job.model import ModelVersionConfig
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.models.base import Model, ModelFile
from scoring.models.sklearn import check_predicts
from scoring.models.user_scorer import UserScorer, read_scorer
from scoring.registry import MODELS
from scoring.storage.connections import Connections

MODELS_KEPT = 4
"""How many models a process keeps in memory; the one that was used longest ago goes first."""

_kept: OrderedDict[tuple[ModelFile, tuple[str, ...]], Model] = OrderedDict()


def resolve_model(
    job_file: JobFile,
    partition: Partition,
    roots: Roots,
    connections: Connections,
    pinned_version: str | None = None,
) -> ModelFile:
    """Return the model file that scores ``partition``: by the job's policy, or the pinned version.

    For a job without a model, the job's own scorer file stands for it, with its digest as version.
    Raises ModelError as ``Job.version_for`` and ``verify_digest`` do.
    """
    job, scorer = job_file.job, job_file.scorer_path
    if job.model is None and scorer is not None and pinned_version is None:
        digest = read_scorer(scorer).sha256
        version = f"scorer-{digest[:8]}"
        return ModelFile(
            name=job.name, version=version, uri=str(scorer), sha256=digest, format="scorer"
        )
    return verify_digest(job, job.version_for(partition, pinned_version), roots, connections)


def verify_digest(
    job: Job, version: ModelVersionConfig, roots: Roots, connections: Connections
) -> ModelFile:
    """Return the file of ``version``, its digest compared with the job's.

    Raises ModelError if it is not there or has another digest than the job pins.
    """
    uri = roots.expand(version.uri)
    digest = hashlib.sha256(
        _bytes_of(uri, f"{job.name} {version.version}", connections)
    ).hexdigest()
    if version.sha256 is not None and digest != version.sha256:
        raise ModelError(
            f"{uri} is not the file that {job.name} pins as {version.version}: its sha256 is "
            f"{digest}, the job file says {version.sha256}; it was not loaded. Put the "
            "right file back, or list this one as a new version"
        )
    return ModelFile(
        name=job.name,
        version=version.version,
        uri=uri,
        sha256=digest,
        format=version.file_format,
    )


def prepare_model(job_file: JobFile, file: ModelFile, connections: Connections) -> Model:
    """Return what predicts: the model in ``file``, and around it the job's own scorer, if it has
    one.

    Models stay in memory for the next call.  Raises ModelError and ScorerError.
    """
    _importable(job_file.path.parent)
    model = None
    if job_file.job.model is not None:
        model = _kept_model(file, tuple(job_file.job.model.trusted_types), connections)
    if job_file.scorer_path:
        return UserScorer(read_scorer(job_file.scorer_path), model)
    assert model is not None  # a job has a model, a scorer, or both
    check_predicts(model, file)
    return model


def _importable(folder: Path) -> None:
    """Let models and scorers import modules that lie beside the job file: here and in Airflow's
    tasks.

    Last on the path, so that none of them takes the place of an installed one.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def load_model(file: ModelFile, trusted_types: Sequence[str], connections: Connections) -> Model:
    """Return the model in ``file``, whose bytes must still have the digest that was verified.

    Raises ModelError if they do not, and as the loader of its format does.
    """
    data = _bytes_of(file.uri, f"{file.name} {file.version}", connections)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise ModelError(
            f"{file.uri} was replaced while {file.name} was being scored with it; it was not "
            "loaded. Run the partition again"
        )
    model: Model = MODELS.load(file.format)(data, file, trusted_types)
    return model


def _kept_model(file: ModelFile, trusted_types: tuple[str, ...], connections: Connections) -> Model:
    key = (file, trusted_types)
    if key not in _kept:
        _kept[key] = load_model(file, trusted_types, connections)
        if len(_kept) > MODELS_KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _bytes_of(uri: str, what: str, connections: Connections) -> bytes:
    try:
        data = connections.storage(uri).read(uri)
    except OSError as error:
        raise_if_resource_error(error)
        raise ModelError(
            f"{uri}, the model file of {what}, cannot be read: {error.strerror}"
        ) from None
    if data is None:
        raise ModelError(
            f"the model file of {what} is not there: {uri}. Check its uri in model.versions"
        )
    return data
