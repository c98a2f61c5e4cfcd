"""Mistakes in the model section of a job, and in its challengers, that concern several fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scoring.job.model import FOLDER_FORMATS, ArtifactConfig, ModelConfig, ModelVersionConfig
from scoring.job.section import Loc, Problem
from scoring.registry import MODELS

if TYPE_CHECKING:
    from scoring.job.schema import Job


def problems_of_model(job: Job) -> Iterator[Problem]:
    """Report what the model of ``job`` says and cannot mean."""
    yield from _of_challengers(job)
    if job.model is None:
        if job.scorer is None:
            yield ("model",), "missing; a job needs a model or a scorer"
        return
    yield from _of_candidates(job.model)
    seen: dict[str, str] = {}
    for i, version in enumerate(job.model.versions):
        loc = ("model", "versions", i)
        if version.version in job.version_names[:i]:
            yield (*loc, "version"), f"{version.version!r} is listed twice"
        if version.in_force_from in seen:
            other = seen[version.in_force_from]
            yield (*loc, "in_force_from"), f"{version.in_force_from} is also that of {other}"
        if version.in_force_from is not None:
            seen[version.in_force_from] = version.version
        yield from _of_folder(loc, version)
        if not version.is_folder:
            yield from _of_digest(loc, version)
        yield from _of_artifacts(job, (*loc, "files"), version.files)
    yield from _of_artifacts(job, ("model", "files"), job.model.files)
    if job.model.input != "frame" and job.scorer is not None:
        yield ("model", "input"), "not with a scorer, which is always given a DataFrame"


def _of_challengers(job: Job) -> Iterator[Problem]:
    for i, name in enumerate(job.challengers):
        if name not in job.version_names:
            known = ", ".join(job.version_names) or "none, as there is no model"
            yield ("challengers", i), f"{name!r} is not a version of the model ({known})"
        elif name in job.challengers[:i]:
            yield ("challengers", i), f"{name!r} is listed twice"
    if job.challengers and job.destination.format != "parquet":
        yield ("challengers",), "not with a destination of this format; challengers need parquet"


def _of_candidates(model: ModelConfig) -> Iterator[Problem]:
    """Report versions of which it is not clear whether and from when on they are in force."""
    for i, version in enumerate(model.versions):
        loc: Loc = ("model", "versions", i, "in_force_from")
        if version.candidate and version.in_force_from is not None:
            yield (
                loc,
                "not for a candidate, which is never in force; remove candidate: true to promote it",
            )
        elif not version.candidate and version.in_force_from is None:
            yield loc, "missing; this key is required, unless the version is a candidate: true"
    if all(version.candidate for version in model.versions):
        yield ("model", "versions"), "has candidates only; one version must be in force"


def _of_artifacts(job: Job, loc: Loc, files: dict[str, ArtifactConfig]) -> Iterator[Problem]:
    if files and job.scorer is None:
        yield loc, "requires a scorer, whose run is given them"
    for name, artifact in files.items():
        if name in ("df", "model"):
            yield (*loc, name), "is what run is given already; choose another name"
        yield from _of_digest((*loc, name), artifact)


def _of_folder(loc: Loc, version: ModelVersionConfig) -> Iterator[Problem]:
    """Report what does not go with a folder, or with a file.

    A missing digest is an error of the run, which can name the digest to write.
    """
    kind, folders = version.format, FOLDER_FORMATS
    if kind in MODELS.built_in and version.is_folder != (kind in folders):
        what = "a folder, so its URI ends with /" if kind in folders else "one file, not a folder"
        yield (*loc, "format"), f"{kind} reads {what}"
    if version.environment == "model" and not version.has_signature:
        yield (
            (*loc, "environment"),
            "is for MLflow models, which say what they need; write python and requirements",
        )
    if version.trust and not version.registered:
        yield (*loc, "trust"), "is for models in an MLflow registry, mlflow:models:/NAME/3"


def _of_digest(loc: Loc, config: ModelVersionConfig | ArtifactConfig) -> Iterator[Problem]:
    if config.may_run_code and config.sha256 is None:
        yield (
            (*loc, "sha256"),
            "missing; a file that is not skops can run code when it is loaded, so the job must "
            "contain its digest: `sha256sum FILE` prints it. A file of LightGBM, XGBoost, CatBoost "
            "or ONNX needs none: format: lightgbm",
        )
