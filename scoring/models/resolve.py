"""Which model file scores a partition, and whether it is the one that the job pins.

A model file is code.  The digest of its bytes is compared with the job's, and only then are these
same bytes loaded (``prepare``).
"""

from __future__ import annotations

import hashlib
from typing import Any

from scoring.errors import ModelError, raise_if_resource_error
from scoring.job.loader import JobFile
from scoring.job.mlflow_uris import RegisteredUri
from scoring.job.model import ArtifactConfig, EnvironmentConfig, ModelVersionConfig
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.models.artifacts import artifact_kind
from scoring.models.base import EnvironmentSpec, ModelFile, ProfileFile
from scoring.models.content import NAMES, kind_of, kind_of_name
from scoring.models.folders import folder_digest
from scoring.models.mlflow.mlmodel import check_signature, inputs_of, read_mlmodel
from scoring.models.mlflow.registry import registered_model
from scoring.models.mlflow.requirements import mlflow_environment
from scoring.models.stored import bytes_of, folder_of
from scoring.models.user_scorer import read_scorer
from scoring.registry import MODELS
from scoring.storage.connections import Connections


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
        name = f"scorer-{digest[:8]}"
        return ModelFile(
            name=job.name, version=name, uri=str(scorer), sha256=digest, format="scorer"
        )
    version = job.version_for(partition, pinned_version)
    return verify_digest(job, version, partition, roots, connections)


def verify_digest(
    job: Job,
    version: ModelVersionConfig,
    partition: Partition,
    roots: Roots,
    connections: Connections,
) -> ModelFile:
    """Return the file of ``version`` and its artifacts, their digests compared with the job's.

    What a URI of a registry means for ``partition`` is decided here, once for a run.  Raises
    ModelError if a file is not there, has another digest than the job pins, or is of a kind that is
    not known.
    """
    assert job.model is not None
    files = {
        name: _verified(job.name, f"{version.version} {name}", config, roots, connections)
        for name, config in (job.model.files | version.files).items()
    }
    if version.is_folder:
        file = _verified_folder(job, version, partition, roots, connections)
    else:
        file = _verified(job.name, version.version, version, roots, connections)
    found: dict[str, Any] = {"accept": version.accept, "files": files}
    found["profile"] = _profile(job.name, version, roots, connections)
    if isinstance(version.environment, EnvironmentConfig):
        found["environment"] = environment_spec(version.version, version.environment, roots)
    return file.model_copy(update=found)


def environment_spec(version: str, config: EnvironmentConfig, roots: Roots) -> EnvironmentSpec:
    """Return the environment of the version so called, with the text of its requirements.

    Raises ModelError for a file that is not there.
    """
    text = "\n".join(config.requirements)
    if isinstance(config.requirements, str):
        path = roots.base / config.requirements
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise_if_resource_error(error)
            raise ModelError(
                f"the requirements {path} of {version} cannot be read: "
                f"{getattr(error, 'strerror', None) or 'it is not UTF-8'}; environment.requirements "
                "is relative to the job file's folder"
            ) from None
    return EnvironmentSpec(
        python=config.python,
        requirements=text,
        variables=tuple(config.variables),
        timeout_seconds=config.timeout_seconds,
    )


def _profile(
    job: str, version: ModelVersionConfig, roots: Roots, connections: Connections
) -> ProfileFile | None:
    if version.profile is None:
        return None
    uri = roots.expand(version.profile)
    data = bytes_of(uri, f"{job} {version.version} profile", connections, roots.hint(uri))
    return ProfileFile(uri=uri, sha256=hashlib.sha256(data).hexdigest())


def _verified(
    job: str,
    version: str,
    config: ModelVersionConfig | ArtifactConfig,
    roots: Roots,
    connections: Connections,
) -> ModelFile:
    uri = roots.expand(config.uri)
    data = bytes_of(uri, f"{job} {version}", connections, roots.hint(config.uri))
    digest = hashlib.sha256(data).hexdigest()
    _check_pinned(f"{job} pins as {version}", "file", uri, digest, config.sha256)
    by_content = _model_kind if isinstance(config, ModelVersionConfig) else artifact_kind
    kind = config.declared_format or by_content(data, uri)
    _check_format(kind, data, uri, digest)
    if kind == "joblib" and config.sha256 is None:
        raise ModelError(
            f"{uri} is a pickle, whatever its name says, and a pickle can run code when it is "
            f"loaded; it was not loaded. Add its digest to the job file, sha256: {digest}, if you "
            f"trust the file: `scoring inspect {uri}` lists what it would import"
        )
    return ModelFile(name=job, version=version, uri=uri, sha256=digest, format=kind)


def _verified_folder(
    job: Job,
    version: ModelVersionConfig,
    partition: Partition,
    roots: Roots,
    connections: Connections,
) -> ModelFile:
    kind, asked = version.declared_format, version.registered
    assert kind is not None
    name, registered = version.version, None
    if asked is not None:
        registered = registered_model(asked, job, partition, connections)
        uri = str(RegisteredUri(registered.name, registered.number))
        name += f".{registered.number}" if asked.moves else ""
    else:
        uri = f"{roots.expand(version.uri).rstrip('/')}/"
    file = ModelFile(
        name=job.name, version=name, uri=uri, sha256="", format=kind, registered=registered
    )
    folder = folder_of(file, connections)
    digest = folder_digest(folder, uri)
    _check_pinned(f"{job.name} pins as {version.version}", "folder", uri, digest, version.sha256)
    if version.sha256 is None and version.trust is None:
        trust = ", or trust: registry if you trust all that is registered" if registered else ""
        raise ModelError(
            f"{uri} is a folder of files that can run code when they are loaded, and the job does "
            f"not pin it; it was not loaded. Add its digest to the job file, sha256: {digest}, if "
            f"you trust the files{trust}"
        )
    found: dict[str, Any] = {"sha256": digest}
    if kind == "mlflow":
        model = read_mlmodel(folder, uri)
        if job.has_inputs_of_model:
            found["inputs"] = inputs_of(model, uri)
        else:
            check_signature(model, job, uri)
        if version.environment == "model":
            found["environment"] = mlflow_environment(model, folder, uri)
    return file.model_copy(update=found)


def _check_pinned(pins: str, what: str, uri: str, digest: str, pinned: str | None) -> None:
    """Raise ModelError if the job pins another digest."""
    if pinned is not None and digest != pinned:
        raise ModelError(
            f"{uri} is not the {what} that {pins}: its sha256 is {digest}, the job file says "
            f"{pinned}; it was not loaded. Put the right {what} back, or list this one as a new "
            "version"
        )


def _check_format(kind: str, data: bytes, uri: str, digest: str) -> None:
    """Raise ModelError where the content is another kind of model file than ``kind``."""
    found = kind_of(data)
    if kind not in NAMES or found is None or found == kind:
        return
    pin = f" and its digest, sha256: {digest}, if you trust the file" if found == "joblib" else ""
    raise ModelError(
        f"{uri} is {NAMES[found]}, and the job file says format: {kind}; it was not loaded. Write "
        f"format: {found}{pin}"
    )


def _model_kind(data: bytes, uri: str) -> str:
    named = kind_of_name(uri)
    # By its name, if need be: the loader says what is wrong with it.
    kind = kind_of(data) or (named if named in MODELS else None)
    if kind is None:
        raise ModelError(
            f"{uri} is not a model file of a kind that is known by its first bytes "
            f"({', '.join(NAMES)}); say what it is with format in model.versions: "
            f"{', '.join(MODELS.names())}"
        )
    return kind
