"""Whether a job would load a model file, and why not: for ``scoring inspect``."""

from __future__ import annotations

from collections.abc import Iterator

from scoring.errors import ModelError, raise_if_resource_error
from scoring.job.loader import JobFile
from scoring.job.model import ArtifactConfig, ModelVersionConfig
from scoring.models.inspection.inspect import Inspection, inspect_model
from scoring.storage.connections import Connections

__all__ = ["Inspection", "check_allowed", "inspect_file"]


def inspect_file(uri: str) -> Inspection:
    """Return what the file ``uri``, on disk or in S3, would import; nothing of it is executed.

    Raises ModelError for a file that is not there or of no known kind.
    """
    try:
        data = Connections().storage(uri).read(uri)
    except OSError as error:
        raise_if_resource_error(error)
        raise ModelError(f"{uri} cannot be read: {error.strerror}") from None
    if data is None:
        raise ModelError(f"there is no file {uri}")
    return inspect_model(data, uri)


def check_allowed(found: Inspection, job_file: JobFile, version: str | None = None) -> str:
    """Return why the job loads the file that was inspected: by which digest, or which types.

    ``version`` limits that to one of the job's versions.  Raises ModelError, which says why not.
    """
    model = job_file.job.model
    name = job_file.job.name
    if model is None:
        raise ModelError(f"{name} has no model, so it loads no model file")
    if version is not None and version not in [one.version for one in model.versions]:
        known = ", ".join(one.version for one in model.versions)
        raise ModelError(f"{name} has no version {version!r}; its versions are {known}")
    if found.broken:
        raise ModelError(f"{found.uri}: {found.broken}; {name} should not load it")
    files = [*_files(job_file, version)]
    pinning = [what for what, config in files if config.sha256 == found.sha256]
    if pinning:
        what = f"{name} pins this digest as {' and '.join(pinning)}"
    elif found.kind == "joblib":
        raise ModelError(
            f"{found.uri} is a pickle, and {version or f'no version of {name}'} does not pin its "
            f"digest, so it would not be loaded. If you trust it, write sha256: {found.sha256}"
        )
    else:
        what = f"{name} needs no digest of {found.kind} files"
        pinned = [config.sha256 for _, config in files if config.sha256]
        if version is not None and len(pinned) == len(files):
            raise ModelError(
                f"{name} pins another digest as {version} than that of {found.uri}, which is "
                f"{found.sha256}; it would not be loaded"
            )
    unknown = sorted({*found.untrusted} - {*model.trusted_types})
    if found.kind == "skops" and unknown:
        raise ModelError(
            f"{found.uri} contains types that {name} does not trust: {', '.join(unknown)}; it would "
            "not be loaded. If you know them, list them in the job file under model.trusted_types"
        )
    return what


def _files(
    job_file: JobFile, version: str | None
) -> Iterator[tuple[str, ModelVersionConfig | ArtifactConfig]]:
    """Yield the model files and artifacts of the job, or of one version of it, by what they are."""
    model = job_file.job.model
    assert model is not None
    for one in model.versions:
        if version is None or one.version == version:
            yield one.version, one
            for name, artifact in (model.files | one.files).items():
                yield f"{one.version} {name}", artifact
