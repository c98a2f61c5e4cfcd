"""Which model file scores a partition, and that model in memory.

A model file is code.  Its bytes are read once, their digest is compared with the job's, and only
then are these same bytes loaded.
"""

from __future__ import annotations

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scoring.errors import ModelError, raise_if_resource_error
from scoring.job.loader import JobFile
from scoring.job.mlflow_uris import RegisteredUri
from scoring.job.model import ArtifactConfig, ModelVersionConfig
from scoring.job.partitions import Partition
from scoring.job.schema import Job
from scoring.job.uri_templates import Roots
from scoring.models.artifacts import artifact_kind, load_artifact
from scoring.models.base import EnvironmentSpec, Model, ModelFile
from scoring.models.content import kind_of
from scoring.models.environment.build import environment_of
from scoring.models.environment.model import EnvironmentModel, Parts
from scoring.models.folders import Folder, LocalCopy, StoredFolder, folder_digest
from scoring.models.inputs import ModelWithInput
from scoring.models.mlflow.mlmodel import check_signature, read_mlmodel
from scoring.models.mlflow.registry import registered_folder, registered_model
from scoring.models.sklearn import check_predicts
from scoring.models.user_scorer import UserScorer, read_scorer
from scoring.registry import MODELS
from scoring.storage.connections import Connections

ENVIRONMENT_FORMATS = ("joblib", "skops")
"""The kinds of model files that a child process of another environment can load."""

MODELS_KEPT = 8
"""How many models and artifacts a process keeps; the one that was used longest ago goes first."""

_kept: OrderedDict[str, Any] = OrderedDict()
"""Models and artifacts, by what identifies their bytes and how they are loaded."""


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
    environment = environment_spec(version, roots) if version.environment else None
    found = {"accept": version.accept, "files": files, "environment": environment}
    return file.model_copy(update=found)


def environment_spec(version: ModelVersionConfig, roots: Roots) -> EnvironmentSpec:
    """Return the environment of ``version``, with the text of its requirements.

    Raises ModelError for a file that is not there, and for a format that no environment can load.
    """
    config = version.environment
    assert config is not None
    text = "\n".join(config.requirements)
    if isinstance(config.requirements, str):
        path = roots.base / config.requirements
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise_if_resource_error(error)
            raise ModelError(
                f"the requirements {path} of {version.version} cannot be read: "
                f"{getattr(error, 'strerror', None) or 'it is not UTF-8'}; environment.requirements "
                "is relative to the job file's folder"
            ) from None
    return EnvironmentSpec(
        python=config.python,
        requirements=text,
        variables=tuple(config.variables),
        timeout_seconds=config.timeout_seconds,
    )


def _verified(
    job: str,
    version: str,
    config: ModelVersionConfig | ArtifactConfig,
    roots: Roots,
    connections: Connections,
) -> ModelFile:
    uri = roots.expand(config.uri)
    data = _bytes_of(uri, f"{job} {version}", connections, roots.hint(config.uri))
    digest = hashlib.sha256(data).hexdigest()
    if config.sha256 is not None and digest != config.sha256:
        raise ModelError(
            f"{uri} is not the file that {job} pins as {version}: its sha256 is {digest}, the job "
            f"file says {config.sha256}; it was not loaded. Put the right file back, or list this "
            "one as a new version"
        )
    by_content = _model_kind if isinstance(config, ModelVersionConfig) else artifact_kind
    kind = config.declared_format or by_content(data, uri)
    if kind == "joblib" and config.sha256 is None:
        raise ModelError(
            f"{uri} is a pickle, whatever its name says, and a pickle can run code when it is "
            f"loaded; it was not loaded. Add its digest to the job file, sha256: {digest}, if you "
            "trust the file"
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
    folder = _folder_of(file, connections)
    digest = folder_digest(folder, uri)
    if version.sha256 is not None and digest != version.sha256:
        raise ModelError(
            f"{uri} is not the folder that {job.name} pins as {version.version}: its sha256 is "
            f"{digest}, the job file says {version.sha256}; it was not loaded. Put the right "
            "folder back, or list this one as a new version"
        )
    if version.sha256 is None and version.trust is None:
        trust = ", or trust: registry if you trust all that is registered" if registered else ""
        raise ModelError(
            f"{uri} is a folder of files that can run code when they are loaded, and the job does "
            f"not pin it; it was not loaded. Add its digest to the job file, sha256: {digest}, if "
            f"you trust the files{trust}"
        )
    if kind == "mlflow":
        check_signature(read_mlmodel(folder, uri), job, uri)
    return file.model_copy(update={"sha256": digest})


def _folder_of(file: ModelFile, connections: Connections) -> Folder:
    if file.registered is not None:
        return registered_folder(file.registered, connections)
    return StoredFolder(file.uri, connections.storage(file.uri))


def _same_folder(file: ModelFile, connections: Connections) -> LocalCopy:
    """Return a copy of ``file``'s folder; ModelError if its bytes are no longer those verified."""
    copy = LocalCopy(_folder_of(file, connections), file.uri)
    if copy.sha256 != file.sha256:
        copy.close()
        raise _replaced(file)
    return copy


def _model_kind(data: bytes, uri: str) -> str:
    suffix = Path(uri).suffix.removeprefix(".")
    kind = kind_of(data) or (
        suffix if suffix in MODELS else None
    )  # whose loader says what is wrong
    if kind is None:
        raise ModelError(
            f"{uri} is neither a skops nor a pickle or joblib file by its first bytes; say what it "
            f"is with format in model.versions: {', '.join(MODELS.names())}"
        )
    return kind


def prepare_model(
    job_file: JobFile, file: ModelFile, connections: Connections, threads: int = 1
) -> Model:
    """Return what predicts: the model in ``file``, and around it the job's own scorer, if it has
    one.

    Models stay in memory for the next call.  Raises ModelError and ScorerError.  ``threads`` is for
    a model in an environment of its own; of others, the caller limits this process's threads.
    """
    if file.environment is not None:
        return _environment_model(job_file, file, connections, threads)
    _importable(job_file.path.parent)
    model = None
    if job_file.job.model is not None:
        model = _kept_model(file, tuple(job_file.job.model.trusted_types), connections)
    config = job_file.job.model
    if job_file.scorer_path:
        trusted = tuple(config.trusted_types) if config else ()
        artifacts = {
            name: _kept_artifact(of, trusted, connections) for name, of in file.files.items()
        }
        return UserScorer(read_scorer(job_file.scorer_path), model, artifacts)
    assert model is not None  # a job has a model, a scorer, or both
    assert config is not None
    check_predicts(model, file)
    return model if config.input == "frame" else ModelWithInput(model, config.input)


def _environment_model(
    job_file: JobFile, file: ModelFile, connections: Connections, threads: int
) -> EnvironmentModel:
    """Return the model of ``file`` in its environment: its bytes go there once they are verified."""
    config, spec = job_file.job.model, file.environment
    assert config is not None
    assert spec is not None
    if file.format not in ENVIRONMENT_FORMATS:
        raise ModelError(
            f"{file.uri} is a {file.format} file; environment is for {' and '.join(ENVIRONMENT_FORMATS)}"
        )
    scorer = read_scorer(job_file.scorer_path) if job_file.scorer_path else None
    trusted = tuple(config.trusted_types)

    def load() -> EnvironmentModel:
        artifacts = {name: _same_bytes(of, connections) for name, of in file.files.items()}
        parts = Parts(
            file,
            _same_bytes(file, connections),
            artifacts,
            job_file.path.parent,
            scorer,
            config.input,
            trusted,
        )
        return EnvironmentModel(environment_of(spec), parts, threads)

    of_scorer = (str(scorer.path), scorer.sha256) if scorer else ()
    model: EnvironmentModel = _keep(
        f"environment {file.model_dump_json()} {trusted} {of_scorer} {config.input} "
        f"{job_file.path.parent}",
        load,
    )
    model.threads = threads
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
    read = _same_folder if file.is_folder else _same_bytes
    model: Model = MODELS.load(file.format)(read(file, connections), file, trusted_types)
    return model


def _same_bytes(file: ModelFile, connections: Connections) -> bytes:
    """Return the bytes of ``file``; ModelError if they are no longer those that were verified."""
    data = _bytes_of(file.uri, f"{file.name} {file.version}".strip(), connections)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _replaced(file)
    return data


def _replaced(file: ModelFile) -> ModelError:
    return ModelError(
        f"{file.uri} was replaced while {file.name} was being scored with it; it was not "
        "loaded. Run the partition again"
    )


def _kept_model(file: ModelFile, trusted_types: tuple[str, ...], connections: Connections) -> Model:
    model: Model = _keep(
        f"model {file.model_dump_json()} {trusted_types}",
        lambda: load_model(file, trusted_types, connections),
    )
    return model


def _kept_artifact(
    file: ModelFile, trusted_types: tuple[str, ...], connections: Connections
) -> Any:
    return _keep(
        f"artifact {file.model_dump_json()} {trusted_types}",
        lambda: load_artifact(_same_bytes(file, connections), file, trusted_types),
    )


def _keep(key: str, load: Callable[[], Any]) -> Any:
    """Return what is kept under ``key``, else what ``load`` returns, which is kept from now on."""
    if key not in _kept:
        _kept[key] = load()
        if len(_kept) > MODELS_KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def _bytes_of(uri: str, what: str, connections: Connections, hint: str = "") -> bytes:
    try:
        data = connections.storage(uri).read(uri)
    except OSError as error:
        raise_if_resource_error(error)
        is_folder = isinstance(error, IsADirectoryError)
        hint = "; the uri of an MLflow model, which is a folder, ends with /" if is_folder else ""
        raise ModelError(
            f"{uri}, the model file of {what}, cannot be read: {error.strerror}{hint}"
        ) from None
    if data is None:
        raise ModelError(
            f"the model file of {what} is not there: {uri}. Check its uri in model.versions{hint}"
        )
    return data
